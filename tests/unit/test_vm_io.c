/*
 * The turns of a VM's virtio devices: who goes on at once and who is put off, that the vCPU of another VM keeps half of
 * its CPU and is not charged for the rest, and that nothing is queued any more once the VM has ended. The devices have
 * as much work as the test says; clock and timers are simulated.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/abroad.c hv/work.c */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/sched/sched.h"
#include "hv/vm_io.c"
#include "hv/vm_io_blk.c"
#include "hv/vm_io_console.c"
#include "hv/vm_io_rng.c"
#include "tests/fake_time.h"
#include "tests/fake_window.h"

#define DISKS	   3
#define TURN_TAKES 100000 /* much more than may be spent in advance */

static struct cpu cpus[2];
static struct pcpu pcpus[2];
static struct vm vm, other;
static struct vcpu mine, theirs;
static struct vm_config config = {.vcpus = 8, .disk_count = DISKS};
static unsigned here, turns, resets;
static unsigned home;	 /* the CPU of the VM's first vCPU */
static uint64_t excused; /* ticks */
static bool endless, dry;
static struct vm_console consoles[3]; /* com1, hvc0, hvc1 */
static struct virtio_console_setup console_setup;
static uint8_t typed[VIRTIO_CONSOLE_MAX_PORTS];
static int pages; /* given out */

_Noreturn void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}
struct cpu *this_cpu(void)
{
	return &cpus[here];
}
struct pcpu *pcpu_at(unsigned index)
{
	return &pcpus[index];
}
int vm_io_balloon_create(struct vm *v, char *why, size_t size)
{
	(void)v, (void)why, (void)size;
	return 0;
}
hpa_t phys_alloc(uint64_t count, uint64_t align_pages)
{
	(void)align_pages;
	pages += (int)count;
	return virt_to_phys(aligned_alloc(PAGE_SIZE, count * PAGE_SIZE));
}
void phys_free(hpa_t hpa, uint64_t count)
{
	pages -= (int)count;
	free(phys_to_virt(hpa));
}
void pcpu_attention(struct pcpu *p, uint32_t bits)
{
	assert_true(p == &pcpus[here] || p == &pcpus[home]);
	assert_int_equal(bits, ATTENTION_WORK);
}
unsigned sched_cpu_of(const struct vcpu *v)
{
	assert_ptr_equal(v, &mine);
	return home;
}
void sched_excuse(struct vcpu *v, uint64_t ticks)
{
	assert_ptr_equal(v, &theirs);
	excused += ticks;
}
struct block_store disk_store(struct disk *disk)
{
	return (struct block_store){.ctx = disk};
}
int virtio_blk_init(struct virtio_blk *blk, struct pci_host *host, const struct virtio_blk_setup *s)
{
	assert_ptr_equal(host, &vm.pc.pci);
	assert_int_equal(s->queues, VIRTIO_BLK_MAX_QUEUES);
	blk->transport.kick = s->kick;
	blk->transport.ctx = s->ctx;
	return 0;
}
int virtio_rng_init(struct virtio_rng *rng, struct pci_host *host, const struct virtio_rng_setup *s)
{
	(void)rng, (void)host, (void)s;
	return 0;
}
int virtio_console_init(struct virtio_console *c, struct pci_host *host, const struct virtio_console_setup *s)
{
	(void)c;
	assert_ptr_equal(host, &vm.pc.pci);
	console_setup = *s;
	return 0;
}
bool virtio_console_type(struct virtio_console *c, unsigned port, uint8_t byte)
{
	assert_ptr_equal(&c->transport, vm.device[DISKS]->transport);
	typed[port] = byte;
	return port;
}
void virtio_console_go_on(struct virtio_console *c, unsigned port)
{
	(void)virtio_console_type(c, port, '!');
}
static void say(void *ctx, const uint8_t *bytes, size_t count)
{
	struct vm_console *c = ctx;

	memcpy(c->ring, bytes, count);
	c->said += count;
}
struct byte_sink console_sink(struct vm_console *c)
{
	return (struct byte_sink){c, say};
}
size_t console_room_for(struct vm_console *c)
{
	return c->said;
}
void console_set_device(struct vm_console *c, const struct console_device *device)
{
	c->device = *device;
}
int random_init(struct random *r, int (*source)(uint64_t *value))
{
	(void)r, (void)source;
	return dry ? -E_NOTSUP : 0;
}
void random_fill(struct random *r, void *to, size_t size)
{
	(void)r, (void)to, (void)size;
}
int entropy_read(uint64_t *value)
{
	(void)value;
	return 0;
}
/* hv/vm_io_net.c has a test of its own. */
int vm_io_net_create(struct vm *v, char *why, size_t size)
{
	(void)v, (void)why, (void)size;
	return 0;
}
void virtio_pci_reset(struct virtio_pci *v)
{
	(void)v;
	resets++;
}
bool virtio_pci_work(struct virtio_pci *v, uint64_t budget, uint64_t until)
{
	(void)v;
	assert_int_equal(budget, TURN_BYTES);
	assert_int_equal(until, fake_now + FAKE_HZ / 10000);
	fake_now += TURN_TAKES;
	turns++;
	return endless;
}

static int setup(void **state)
{
	struct disk *disks[DISKS] = {NULL};
	char why[80];

	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(pcpus, 0, sizeof(pcpus));
	cpus[1].index = 1;
	vm.config = &config;
	config.rng = dry = false;
	config.hvc = 0;
	mine.vm = &vm;
	theirs.vm = &other;
	here = turns = resets = home = 0;
	vm.vcpu[0] = &mine;
	excused = 0;
	endless = true;
	fake_timer_count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(pcpus); i++)
		abroad_init(&pcpus[i]);
	assert_int_equal(vm_io_create(&vm, disks, why, sizeof(why)), 0);
	assert_int_equal(vm.device_count, DISKS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_io_destroy(&vm);
	assert_int_equal(pages, 0);
	return 0;
}

static void kick(unsigned n)
{
	struct virtio_pci *v = vm.device[n]->transport;

	v->kick(v->ctx);
}

static bool is_queued(unsigned cpu)
{
	return atomic_load(&pcpus[cpu].work);
}

static void a_kick_is_a_turn(void **state)
{
	(void)state;
	endless = false;
	kick(1);
	kick(1);
	assert_true(is_queued(0));
	assert_int_equal(turns, 0); /* not within the exit */
	work_run(&pcpus[here]);
	assert_int_equal(turns, 1);
	assert_false(is_queued(0));
}

/* On an idle CPU, and where a vCPU of the VM itself pays for it. */
static void at_home_it_goes_on(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pcpus[0].current = i ? &mine : NULL;
		turns = 0;
		kick(0);
		for (unsigned n = 0; n < 10; n++)
			work_run(&pcpus[here]);
		assert_int_equal(turns, 10);
	}
	assert_int_equal(excused, 0);
}

/* However many devices have work without end: half of the time is the other VM's, and what is not is not its own. */
static void abroad_half_is_the_others(void **state)
{
	uint64_t begun = fake_now;

	(void)state;
	pcpus[0].current = &theirs;
	for (unsigned n = 0; n < DISKS; n++)
		kick(n);
	for (unsigned step = 0; step < 4000; step++) {
		work_run(&pcpus[here]);
		fake_time_advance(TURN_TAKES / 10);
	}
	assert_true(turns > 100);
	assert_in_range((uint64_t)turns * TURN_TAKES * 100 / (fake_now - begun), 40, 50);
	assert_int_equal(excused, (uint64_t)turns * TURN_TAKES);
}

/* A turn is not taken while the CPU has none for others: the work waits there, each in its turn. */
static void who_waits_comes_in_order(void **state)
{
	(void)state;
	pcpus[0].current = pcpus[1].current = &theirs;
	here = home = 1;
	for (unsigned n = 0; n < DISKS; n++)
		kick(n);
	work_run(&pcpus[1]); /* the first one's turn; the others wait, then it */
	work_run(&pcpus[1]);
	assert_int_equal(turns, 1);
	assert_false(is_queued(1));
	here = 0;
	kick(0); /* is queued already */
	assert_false(is_queued(0));
	here = 1;
	for (unsigned n = 1; n <= 2 * DISKS; n++) {
		uint64_t before = vm.device[n % DISKS]->ticks;

		fake_time_advance(TURN_TAKES);
		work_run(&pcpus[1]);
		work_run(&pcpus[1]);
		assert_int_equal(turns, n + 1);
		assert_int_equal(vm.device[n % DISKS]->ticks, before + TURN_TAKES);
	}
}

/* What another VM's doing makes a device do is done where its own VM is, and so is what it does when that one wakes. */
static void work_goes_home(void **state)
{
	(void)state;
	home = 1;
	pcpus[0].current = &theirs;
	kick(0);
	assert_false(is_queued(0));
	assert_true(is_queued(1));
	pcpus[0].current = NULL;
	kick(1);
	assert_true(is_queued(0)); /* an idle CPU may have it */
	work_run(&pcpus[0]);
	assert_true(is_queued(0));
	pcpus[0].current = &theirs;
	work_run(&pcpus[0]);
	assert_int_equal(turns, 2);
	assert_false(is_queued(0));
	here = 1;
	work_run(&pcpus[1]);
	assert_int_equal(turns, 4);
}

/* A vCPU that wakes waits for one turn, not for those of all devices; they go on where they were. */
static void who_wakes_waits_for_one_turn(void **state)
{
	static const unsigned order[] = {0, 1, 2, 0, 1};

	(void)state;
	for (unsigned n = 0; n < DISKS; n++)
		kick(n);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		uint64_t before = vm.device[order[i]]->ticks;

		pcpus[0].attention = i % 2 ? ATTENTION_PREEMPT : ATTENTION_RESCHEDULE;
		work_run(&pcpus[0]);
		assert_int_equal(turns, i + 1);
		assert_int_equal(vm.device[order[i]]->ticks, before + TURN_TAKES);
		assert_true(pcpus[0].attention & ATTENTION_WORK);
	}
	pcpus[0].attention = 0;
	work_run(&pcpus[0]); /* all, as ever */
	assert_int_equal(turns, ARRAY_SIZE(order) + DISKS);
}

/* Not for the lock, which a vCPU of the VM may hold for long. */
static void who_waits_needs_no_lock(void **state)
{
	(void)state;
	pcpus[0].current = &theirs;
	kick(0);
	work_run(&pcpus[0]);
	spin_lock(&vm.lock);
	work_run(&pcpus[0]); /* does not hang */
	spin_unlock(&vm.lock);
	assert_int_equal(turns, 1);
}

/* Where the CPU goes on to run the VM itself, or nothing, nobody has to wait. */
static void who_waits_is_asked_again(void **state)
{
	(void)state;
	pcpus[0].current = &theirs;
	kick(0);
	work_run(&pcpus[0]);
	work_run(&pcpus[0]);
	assert_int_equal(turns, 1);
	abroad_resume(&pcpus[0]);
	work_run(&pcpus[0]); /* it does not help */
	assert_int_equal(turns, 1);
	pcpus[0].current = &mine;
	abroad_resume(&pcpus[0]);
	work_run(&pcpus[0]);
	assert_int_equal(turns, 2);
}

/* A restart, say: half of the time is the other VM's, whose it is not counted as. */
static void what_has_no_lock_is_put_off_too(void **state)
{
	uint64_t begun = fake_now, later = 0, times = 0;

	(void)state;
	pcpus[0].current = &theirs;
	while (times < 20) {
		later = abroad_put_off(&pcpus[0], &vm);
		if (later) {
			assert_true(later > fake_now);
			fake_now = later;
		}
		assert_int_equal(abroad_put_off(&pcpus[0], &vm), 0);
		abroad_begin(&pcpus[0], &vm);
		fake_now += TURN_TAKES;
		abroad_end(&pcpus[0]);
		times++;
	}
	assert_true(later);
	assert_int_equal(excused, times * TURN_TAKES);
	assert_in_range((fake_now - begun) * 100 / (times * TURN_TAKES), 190, 200);
	kick(0); /* work that waits has a turn before the next of them */
	work_run(&pcpus[0]);
	fake_now = abroad_put_off(&pcpus[0], &vm);
	abroad_begin(&pcpus[0], &vm);
	fake_now += TURN_TAKES;
	abroad_timer_done(&pcpus[0]);
	work_resume(&pcpus[0]);
	work_run(&pcpus[0]);
	fake_now = abroad_put_off(&pcpus[0], &vm);
	assert_int_equal(abroad_put_off(&pcpus[0], &vm), fake_now + 1);
	work_resume(&pcpus[0]);
	work_run(&pcpus[0]);
	assert_int_equal(turns, 1);
	assert_int_equal(abroad_put_off(&pcpus[0], &other), 0); /* at home */
	pcpus[0].current = NULL;
	assert_int_equal(abroad_put_off(&pcpus[0], &vm), 0);
}

/* A timer's callback for another VM, and the wait for its lock. False: not now. */
static bool timer_fires(struct vm *machine, uint64_t takes)
{
	if (abroad_take_lock(&pcpus[0], &machine->lock))
		return false;
	assert_int_equal(machine->lock.next - machine->lock.serving, 1);
	fake_now += takes;
	spin_unlock(&machine->lock);
	abroad_timer_done(&pcpus[0]);
	return true;
}

static void timers_at_home_are_free(void **state)
{
	(void)state;
	pcpus[0].abroad.until = fake_now + TURN_TAKES;
	assert_true(timer_fires(&vm, TURN_TAKES)); /* nobody has the CPU */
	pcpus[0].current = &theirs;
	assert_true(timer_fires(&other, TURN_TAKES));
	assert_int_equal(excused, 0);
	assert_true(pcpus[0].abroad.until == fake_now - TURN_TAKES); /* as it was */
}

/* Short ones come together, as long as they are few. */
static void timers_abroad_have_half_of_the_time(void **state)
{
	uint64_t begun = fake_now, spent = 0;

	(void)state;
	pcpus[0].current = &theirs;
	for (unsigned i = 0; i < 5; i++)
		assert_true(timer_fires(&vm, 100));
	for (unsigned i = 0; i < 100000; i++) {
		spent += timer_fires(&vm, 100) ? 100 : 0;
		fake_now += 7;
	}
	assert_in_range(spent * 100 / (fake_now - begun), 45, 50);
	assert_int_equal(excused, spent + 5 * 100);
}

/* Holds the lock until somebody waits for it, and that for 5,000 ticks. */
static void *hold(void *ctx)
{
	while (atomic_load(&vm.lock.next) - atomic_load(&vm.lock.serving) < 2)
		;
	fake_now += 5000;
	spin_unlock(&vm.lock);
	return ctx;
}

static void waiting_for_a_lock_counts(void **state)
{
	pthread_t holder;

	(void)state;
	pcpus[0].current = &theirs;
	spin_lock(&vm.lock);
	assert_int_equal(pthread_create(&holder, NULL, hold, NULL), 0);
	assert_true(timer_fires(&vm, 300));
	pthread_join(holder, NULL);
	assert_int_equal(excused, 5300);
	assert_int_equal(pcpus[0].abroad.until, fake_now + 5300);
}

/* However often a timer is due whose callback takes long, a device that waits has every second turn, and so has it. */
static void alternate(bool turns_at_home)
{
	unsigned fired = 0;

	pcpus[0].current = &theirs;
	kick(0);
	for (unsigned i = 0; i < 10000; i++) {
		fired += timer_fires(&vm, TURN_TAKES);
		if (turns_at_home) {
			abroad_begin(&pcpus[0], &other);
			abroad_end(&pcpus[0]);
		}
		work_run(&pcpus[0]);
		fake_time_advance(TURN_TAKES / 10);
	}
	assert_true(turns > 100);
	assert_in_range(fired, turns - 2, turns + 2);
}

static void timers_and_work_alternate(void **state)
{
	(void)state;
	alternate(false);
}

/* Devices of the CPU's own VM, which nothing keeps waiting, have turns in between. */
static void turns_at_home_are_none_of_it(void **state)
{
	(void)state;
	alternate(true);
}

/* A turn of a device lasts as long as a thousand callbacks, and does not leave room for one in between only. */
static void short_callbacks_are_not_one_a_turn(void **state)
{
	unsigned fired = 0;

	(void)state;
	pcpus[0].current = &theirs;
	kick(0);
	for (unsigned i = 0; i < 10000; i++) {
		for (unsigned n = 0; n < 5; n++)
			fired += timer_fires(&vm, 100);
		work_run(&pcpus[0]);
		fake_time_advance(TURN_TAKES / 10);
	}
	assert_true(turns > 100);
	assert_true(fired > 5 * turns);
}

/* Who is put off may begin when it comes again, if nobody else has: it is not overtaken by those who come at any time.
 */
static void who_is_put_off_has_its_moment(void **state)
{
	uint64_t until;

	(void)state;
	pcpus[0].current = &theirs;
	assert_true(timer_fires(&vm, TURN_TAKES));
	until = abroad_take_lock(&pcpus[0], &vm.lock);
	assert_true(until > fake_now);
	fake_now = until - 1;
	assert_int_equal(abroad_take_lock(&pcpus[0], &vm.lock), until);
	fake_now = until;
	assert_true(timer_fires(&vm, TURN_TAKES));
}

/* What waits is queued still, so that the end waits for it. */
static void after_the_end_nothing_is_queued(void **state)
{
	(void)state;
	pcpus[0].current = &theirs;
	kick(0);
	work_run(&pcpus[0]);
	work_run(&pcpus[0]);
	kick(1);
	atomic_store(&vm.end, VM_POWERED_OFF);
	assert_true(vm_io_stop(&vm)); /* the first one's turn waits still, and the second one's is queued */
	turns = 0;
	work_run(&pcpus[0]);
	assert_false(atomic_load(&vm.device[1]->work.queued));
	assert_true(atomic_load(&vm.device[0]->work.queued) && vm_io_stop(&vm));
	fake_time_advance(10 * TURN_TAKES);
	work_run(&pcpus[0]);
	kick(2);
	assert_false(is_queued(0));
	assert_int_equal(turns, 0);
	assert_false(vm_io_stop(&vm));
}

static void a_reset_is_each_devices(void **state)
{
	(void)state;
	vm_io_reset(&vm);
	assert_int_equal(resets, DISKS);
}

static struct vm_device *taking_leave;

static void take_leave(struct vm_device *device)
{
	assert_int_equal(vm.device_count, 1);
	taking_leave = device;
}

/* Before its memory is gone, which the sanitizer sees, and in the reverse order of creation. */
static void a_device_takes_leave(void **state)
{
	struct vm_device *second = vm.device[1];

	(void)state;
	second->destroy = take_leave;
	vm_io_destroy(&vm);
	assert_ptr_equal(taking_leave, second);
}

static void no_entropy_no_rng(void **state)
{
	struct disk *disks[DISKS] = {NULL};
	char why[80];

	(void)state;
	vm_io_destroy(&vm);
	config.rng = dry = true;
	assert_int_equal(vm_io_create(&vm, disks, why, sizeof(why)), -E_NOTSUP);
	assert_string_equal(why, "rng: this processor has neither RDSEED nor RDRAND");
	assert_int_equal(vm.device_count, DISKS + 1); /* who gives it up gives it back */
}

/* What is typed at hvc1 comes to port 1, and what is said there to hvc1. */
static void ports_are_the_consoles(void **state)
{
	struct disk *disks[DISKS] = {NULL};
	char why[80];

	(void)state;
	vm_io_destroy(&vm);
	memset(consoles, 0, sizeof(consoles));
	for (unsigned i = 0; i < 2; i++)
		consoles[i].next = &consoles[i + 1];
	vm.console = consoles;
	config.hvc = 2;
	assert_int_equal(vm_io_create(&vm, disks, why, sizeof(why)), 0);
	assert_int_equal(vm.device_count, DISKS + 1);
	assert_int_equal(console_setup.ports, 2);
	assert_null(consoles[0].device.type);
	for (unsigned i = 0; i < 2; i++) {
		const struct virtio_console_end *end = &console_setup.end[i];
		const struct console_device *d = &consoles[i + 1].device;

		end->write(end->ctx, (const uint8_t *)"abc", 3);
		assert_memory_equal(consoles[i + 1].ring, "abc", 3);
		assert_int_equal(end->room(end->ctx), 3);
		assert_int_equal(d->type(d->ctx, (uint8_t)('0' + i)), i);
		assert_int_equal(typed[i], '0' + i);
		d->room(d->ctx);
		assert_int_equal(typed[i], '!');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_kick_is_a_turn, setup, teardown),
	    cmocka_unit_test_setup_teardown(at_home_it_goes_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(abroad_half_is_the_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_waits_comes_in_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(work_goes_home, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_has_no_lock_is_put_off_too, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_wakes_waits_for_one_turn, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_waits_needs_no_lock, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_waits_is_asked_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(timers_at_home_are_free, setup, teardown),
	    cmocka_unit_test_setup_teardown(timers_abroad_have_half_of_the_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(waiting_for_a_lock_counts, setup, teardown),
	    cmocka_unit_test_setup_teardown(timers_and_work_alternate, setup, teardown),
	    cmocka_unit_test_setup_teardown(turns_at_home_are_none_of_it, setup, teardown),
	    cmocka_unit_test_setup_teardown(short_callbacks_are_not_one_a_turn, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_is_put_off_has_its_moment, setup, teardown),
	    cmocka_unit_test_setup_teardown(after_the_end_nothing_is_queued, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_reset_is_each_devices, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_device_takes_leave, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_entropy_no_rng, setup, teardown),
	    cmocka_unit_test_setup_teardown(ports_are_the_consoles, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
