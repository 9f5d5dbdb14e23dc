/*
 * Lesson 14: two VMs of this image that know each other. The one whose name comes first lends the other two pages and
 * rings; the other reads, answers, rings back. Then the first takes a page back while it is in use, and ends while the
 * other still looks at the second one. All by Vireo's hypercalls (hv/abi.h), which a VM alone, or one without them,
 * sees refused.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/multiboot.h"
#include "guests/lib/pc.h"
#include "guests/lib/vireo.h"

#define VECTOR_BELL  0x50
#define SLOT_LETTER  0 /* to be written by both */
#define SLOT_NOTICE  1 /* to be read only */
#define RINGS	     3
#define PAGE	     4096
#define NO_SUCH_CALL (-1000) /* Vireo's and KVM's word for it */

struct letter {
	char text[64];
	volatile uint32_t rings; /* how often the writer had rung when it wrote */
	uint8_t rest[PAGE - 68]; /* pages are lent whole: nothing else may lie there */
};

static struct letter letter __attribute__((aligned(PAGE)));
static struct letter notice __attribute__((aligned(PAGE)));
static volatile unsigned bells;

static int64_t call(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return vireo_call(number, a, b, c, d);
}

static bool expect_answer(const char *what, int64_t got, int64_t expected)
{
	return expect_equal(what, (uint64_t)got, (uint64_t)expected);
}

static void copy(char *to, const char *from)
{
	do
		*to++ = *from;
	while (*from++);
}

static bool is_same(const volatile char *a, const char *b)
{
	for (; *a == *b; a++, b++)
		if (!*a)
			return true;
	return false;
}

static void say(const char *text)
{
	uint64_t length = 0;

	while (text[length])
		length++;
	expect_answer("print", call(VIREO_CALL_PRINT, (uintptr_t)text, length, 0, 0), 0);
}

static void on_bell(struct frame *f)
{
	(void)f;
	bells++;
	lapic_write(LAPIC_EOI, 0);
}

/* In HLT until another ring has come; answers who rang. */
static int64_t wait_for_bell(unsigned before)
{
	cli();
	while (bells == before)
		sti_hlt_cli();
	sti();
	return call(VIREO_CALL_TAKE, 0, 0, 0, 0);
}

_Noreturn static void power_off(void)
{
	guest_verdict();
	call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0);
	for (;;) /* it does not come here */
		cli();
}

static void check_common(struct vireo_info *me)
{
	expect_answer("info", call(VIREO_CALL_INFO, (uintptr_t)me, sizeof(*me), 0, 0), sizeof(*me));
	expect_equal("info: version", me->version, vireo_calls());
	expect_equal("info: vCPUs", me->vcpus, 1);
	expect_equal("info: memory", me->memory, 16 << 20);
	expect(me->tsc_khz > 1000, "info: the TSC has a rate");
	expect_answer("info in no memory", call(VIREO_CALL_INFO, 1 << 30, sizeof(*me), 0, 0), VIREO_EFAULT);
	expect_answer("a call that is none", call(VIREO_CALL_UNMAP + 1, 0, 0, 0, 0), VIREO_ENOSYS);
	expect_answer("yield", call(VIREO_CALL_YIELD, 0, 0, 0, 0), 0);
	expect_answer("print: too long", call(VIREO_CALL_PRINT, (uintptr_t)me, VIREO_PRINT_MAX + 1, 0, 0),
		      VIREO_EINVAL);
	expect_answer("print from no memory", call(VIREO_CALL_PRINT, (16 << 20) - 4, 8, 0, 0), VIREO_EFAULT);
	say("neighbours: printed by hypercall\n");
}

/* Nobody has been named, so nobody is there. */
static void check_alone(const struct vireo_info *me)
{
	static struct vireo_peer peer;

	expect_equal("peers", me->peers, 0);
	expect_equal("window", me->window_size, 0);
	expect_answer("peer", call(VIREO_CALL_PEER, 0, (uintptr_t)&peer, 0, 0), VIREO_ENOENT);
	expect_answer("listen", call(VIREO_CALL_LISTEN, VECTOR_BELL, 0, 0, 0), VIREO_ENOENT);
	expect_answer("ring", call(VIREO_CALL_RING, 0, 0, 0, 0), VIREO_ENOENT);
	expect_answer("take", call(VIREO_CALL_TAKE, 0, 0, 0, 0), 0);
	expect_answer("grant", call(VIREO_CALL_GRANT, 0, 0, (uintptr_t)&letter, 1), VIREO_ENOENT);
	expect_answer("revoke", call(VIREO_CALL_REVOKE, 0, 0, 0, 0), VIREO_ENOENT);
	expect_answer("map", call(VIREO_CALL_MAP, 0, 0, me->window, 1), VIREO_ENOENT);
	expect_answer("unmap", call(VIREO_CALL_UNMAP, me->window, 0, 0, 0), VIREO_ENOENT);
}

static void check_off(void)
{
	expect_equal("the leaf of the hypercalls", cpuid(VIREO_CPUID_CALLS, 0).eax, 0);
	expect_answer("info", call(VIREO_CALL_INFO, (uintptr_t)&letter, sizeof(letter), 0, 0), NO_SUCH_CALL);
	expect_equal("info has written nothing", (uint64_t)letter.text[0], 0);
	expect_answer("power off", call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0), NO_SUCH_CALL);
}

/* --- who lends ---------------------------------------------------------------------------------------------------- */

static void check_bad_grants(void)
{
	uint64_t page = (uintptr_t)&letter;

	expect_answer("grant to nobody", call(VIREO_CALL_GRANT, 1, 0, page, 1), VIREO_ENOENT);
	expect_answer("grant in a slot too many", call(VIREO_CALL_GRANT, 0, VIREO_GRANTS, page, 1), VIREO_EINVAL);
	expect_answer("grant of no page", call(VIREO_CALL_GRANT, 0, 0, page, 0), VIREO_EINVAL);
	expect_answer("grant of too many", call(VIREO_CALL_GRANT, 0, 0, page, VIREO_GRANT_PAGES + 1), VIREO_EINVAL);
	expect_answer("grant of a part of a page", call(VIREO_CALL_GRANT, 0, 0, page + 64, 1), VIREO_EFAULT);
	expect_answer("grant of the end of memory", call(VIREO_CALL_GRANT, 0, 0, (16 << 20) - PAGE, 2), VIREO_EFAULT);
	expect_answer("grant of video memory", call(VIREO_CALL_GRANT, 0, 0, 0xb8000, 1), VIREO_EFAULT);
	expect_answer("grant of the local APIC", call(VIREO_CALL_GRANT, 0, 0, LAPIC_BASE, 1), VIREO_EFAULT);
	expect_answer("revoke nothing", call(VIREO_CALL_REVOKE, 5, 0, 0, 0), VIREO_ENOENT);
}

static void lend(void)
{
	int64_t answer;

	copy(letter.text, "from the first");
	copy(notice.text, "to be read only");
	do /* the other one may not be there yet */
		answer = call(VIREO_CALL_GRANT, 0, SLOT_LETTER, (uintptr_t)&letter | VIREO_WRITE, 1);
	while (answer == VIREO_ENOENT);
	expect_answer("grant a page to be written", answer, 0);
	expect_answer("grant it twice", call(VIREO_CALL_GRANT, 0, SLOT_LETTER, (uintptr_t)&letter, 1), VIREO_EBUSY);
	expect_answer("grant a page to be read", call(VIREO_CALL_GRANT, 0, SLOT_NOTICE, (uintptr_t)&notice, 1), 0);
	check_bad_grants();
	for (unsigned i = 0; i < RINGS; i++)
		expect_answer("ring", call(VIREO_CALL_RING, 0, 0, 0, 0), 0);
	letter.rings = RINGS;
	expect_answer("the other rings back", wait_for_bell(0), 1);
	expect(is_same(letter.text, "from the second"), "the answer is in the page");
}

static void take_back(void)
{
	unsigned before = bells;
	int64_t answer;

	do
		answer = call(VIREO_CALL_REVOKE, SLOT_LETTER, 0, 0, 0);
	while (answer == VIREO_EAGAIN);
	expect_answer("revoke a page that is mapped", answer, 0);
	copy(letter.text, "a secret");
	expect_answer("ring", call(VIREO_CALL_RING, 0, 0, 0, 0), 0);
	expect_answer("the other rings back", wait_for_bell(before), 1);
	expect(is_same(letter.text, "a secret"), "what the other wrote since has not come here");
}

/* --- who borrows -------------------------------------------------------------------------------------------------- */

static void check_bad_maps(uint64_t window)
{
	expect_answer("map for writing what is to be read",
		      call(VIREO_CALL_MAP, 0, SLOT_NOTICE, window | VIREO_WRITE, 1), VIREO_EACCES);
	expect_answer("map more than there is", call(VIREO_CALL_MAP, 0, SLOT_LETTER, window, 2), VIREO_EACCES);
	expect_answer("map what nobody granted", call(VIREO_CALL_MAP, 0, 7, window, 1), VIREO_ENOENT);
	expect_answer("map into RAM", call(VIREO_CALL_MAP, 0, SLOT_LETTER, 1 << 20, 1), VIREO_EFAULT);
	expect_answer("map over the local APIC", call(VIREO_CALL_MAP, 0, SLOT_LETTER, LAPIC_BASE, 1), VIREO_EFAULT);
	expect_answer("unmap nothing", call(VIREO_CALL_UNMAP, window, 0, 0, 0), VIREO_ENOENT);
}

static void borrow(uint64_t window)
{
	struct letter *theirs = (struct letter *)window;

	cli();
	while (!bells)
		sti_hlt_cli();
	sti();
	check_bad_maps(window);
	expect_answer("map the letter", call(VIREO_CALL_MAP, 0, SLOT_LETTER, window | VIREO_WRITE, 1), 0);
	expect_answer("map it twice", call(VIREO_CALL_MAP, 0, SLOT_LETTER, window + PAGE, 1), VIREO_EBUSY);
	expect_answer("map the notice over it", call(VIREO_CALL_MAP, 0, SLOT_NOTICE, window, 1), VIREO_EBUSY);
	expect_answer("map the notice", call(VIREO_CALL_MAP, 0, SLOT_NOTICE, window + PAGE, 1), 0);
	while (theirs->rings != RINGS)
		pause();
	expect_equal("interrupts for rings that were not taken", bells, 1);
	expect_answer("take", call(VIREO_CALL_TAKE, 0, 0, 0, 0), 1);
	expect(is_same(theirs->text, "from the first"), "the letter is in the page");
	copy(theirs->text, "from the second");
	expect_answer("ring", call(VIREO_CALL_RING, 0, 0, 0, 0), 0);
	expect_answer("the other rings again", wait_for_bell(1), 1);
	expect(is_same(theirs->text, ""), "a page that was taken back is blank");
	copy(theirs->text, "too late");
	expect(is_same(theirs->text, "too late"), "and this VM's own");
}

/* The first ends while the notice is mapped: it becomes this VM's own page under its eyes. */
static void give_back(uint64_t window)
{
	const volatile char *text = (const volatile char *)(window + PAGE);

	expect_answer("unmap the letter", call(VIREO_CALL_UNMAP, window, 0, 0, 0), 0);
	expect_answer("unmap it twice", call(VIREO_CALL_UNMAP, window, 0, 0, 0), VIREO_ENOENT);
	expect_answer("map what was taken back", call(VIREO_CALL_MAP, 0, SLOT_LETTER, window, 1), VIREO_ENOENT);
	expect_answer("unmap the notice", call(VIREO_CALL_UNMAP, window + PAGE, 0, 0, 0), 0);
	expect_answer("map it again", call(VIREO_CALL_MAP, 0, SLOT_NOTICE, window + PAGE, 1), 0);
	expect(is_same(text, "to be read only"), "the notice is in the page");
	expect_answer("ring", call(VIREO_CALL_RING, 0, 0, 0, 0), 0);
	while (is_same(text, "to be read only"))
		pause();
	expect(is_same(text, "too late"), "what was lent by a VM that has ended is that same page");
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static bool comes_first(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a < *b;
}

static void meet(const struct vireo_info *me)
{
	static struct vireo_peer peer;

	expect_equal("peers", me->peers, 1);
	expect_answer("peer", call(VIREO_CALL_PEER, 0, (uintptr_t)&peer, 0, 0), 0);
	expect_answer("a peer too many", call(VIREO_CALL_PEER, 1, (uintptr_t)&peer, 0, 0), VIREO_ENOENT);
	expect_answer("listen with a vector that is none", call(VIREO_CALL_LISTEN, 5, 0, 0, 0), VIREO_EINVAL);
	interrupt_set(VECTOR_BELL, on_bell);
	expect_answer("listen", call(VIREO_CALL_LISTEN, VECTOR_BELL, 0, 0, 0), 0);
	if (comes_first(me->name, peer.name)) {
		lend();
		take_back();
	} else {
		borrow(me->window);
		give_back(me->window);
	}
}

void guest_main(const struct multiboot_info *info)
{
	static struct vireo_info me;

	pic_init();
	lapic_enable();
	if (!vireo_calls()) {
		check_off();
		guest_finish();
	}
	check_common(&me);
	if (multiboot_says(info, "alone"))
		check_alone(&me);
	else
		meet(&me);
	power_off();
}
