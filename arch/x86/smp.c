/*
 * Starting the other CPUs: smp.h. All are started at once and wait until everyone has answered or is given up; a CPU
 * that answers too late finds itself marked as failed and stops.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/smp.h"
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/shadow.h"
#include "arch/x86/tsc.h"
#include "hv/lib/string.h"

/*
 * The 10 ms after INIT are for the 82489DX; since the P6 an INIT is done within microseconds, and a second STARTUP is
 * only for those that missed the first.
 */
#define INIT_DELAY_US	 10
#define STARTUP_DELAY_US 200
#define ANSWER_US	 100000
#define POLL_US		 2

/* trampoline.asm reads these by offset. */
struct smp_slot {
	uint32_t apic_id;
	uint32_t reserved;
	uint64_t stack_top;
	struct cpu *cpu;
};
_Static_assert(sizeof(struct smp_slot) == 24 && offsetof(struct smp_slot, stack_top) == 8 &&
		   offsetof(struct smp_slot, cpu) == 16,
	       "trampoline.asm");
_Static_assert(sizeof(struct cpu) <= PAGE_SIZE, "a frame each");

extern const uint8_t trampoline_start[], trampoline_end[], trampoline_cr3[], trampoline_gdt_base[], trampoline_far[],
    trampoline_entry[];
void smp_ap_entry(void);
void smp_ap_main(struct cpu *cpu);

struct smp_slot smp_slots[MAX_CPUS];
uint32_t smp_slot_count;

static RO_AFTER_INIT void (*ap_entry)(void);
static _Atomic bool released;

/* Where a CPU other than the BSP enters C. */
void smp_ap_main(struct cpu *cpu)
{
	uint32_t expected = CPU_STARTING;

	write_cr3(virt_to_phys(cpu->root).value);
	cpu_init_this(cpu);
	if (lapic_init_this() || !atomic_compare_exchange_strong(&cpu->online, &expected, CPU_ONLINE))
		return;
	while (!released)
		cpu_pause();
	if (cpu->online != CPU_PARKED)
		ap_entry();
}

/*
 * Its record, page tables, four stacks and their shadows. What is left half-made when memory runs out stays so: the
 * machine is at its end then.
 */
static struct cpu *cpu_create(const struct frame_source *frames)
{
	hpa_t page = frames->alloc(1, 1);
	struct cpu *cpu;

	if (hpa_is_none(page))
		return NULL;
	cpu = memset(phys_to_virt(page), 0, PAGE_SIZE);
	cpu->root = paging_new_root();
	cpu->stack_top = stack_map(CPU_STACK_PAGES);
	cpu->tss.ist[IST_NMI - 1] = stack_map(CPU_IST_STACK_SIZE / PAGE_SIZE);
	cpu->tss.ist[IST_DF - 1] = stack_map(CPU_IST_STACK_SIZE / PAGE_SIZE);
	cpu->tss.ist[IST_MC - 1] = stack_map(CPU_IST_STACK_SIZE / PAGE_SIZE);
	if (!cpu->root || !cpu->stack_top || !cpu->tss.ist[0] || !cpu->tss.ist[1] || !cpu->tss.ist[2] ||
	    shadow_create(cpu))
		return NULL;
	cpu->online = CPU_STARTING;
	return cpu;
}

static void make_slots(const struct boot_info *info, const struct frame_source *frames, struct smp_report *report)
{
	for (uint32_t i = 0; i < info->cpu_count; i++) {
		struct smp_slot *slot = &smp_slots[smp_slot_count];
		struct cpu *cpu;

		if (info->cpu[i].apic_id == this_cpu()->apic_id)
			continue;
		/* the BSP is not in the slots */
		cpu = smp_slot_count < MAX_CPUS - 1 ? cpu_create(frames) : NULL;
		if (!cpu) {
			report->ignored++;
			continue;
		}
		cpu->apic_id = info->cpu[i].apic_id;
		*slot = (struct smp_slot){.apic_id = cpu->apic_id, .stack_top = cpu->stack_top, .cpu = cpu};
		smp_slot_count++;
	}
}

static void patch32(uint8_t *page, const uint8_t *field, uint32_t add)
{
	uint32_t value;

	memcpy(&value, page + (field - trampoline_start), sizeof(value));
	value += add;
	memcpy(page + (field - trampoline_start), &value, sizeof(value));
}

static void trampoline_write(hpa_t hpa, hpa_t tables)
{
	uint8_t *page = phys_to_virt(hpa);
	uint64_t entry = (uint64_t)smp_ap_entry;

	memcpy(page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
	patch32(page, trampoline_gdt_base, (uint32_t)hpa.value);
	patch32(page, trampoline_far, (uint32_t)hpa.value);
	patch32(page, trampoline_cr3, (uint32_t)tables.value);
	memcpy(page + (trampoline_entry - trampoline_start), &entry, sizeof(entry));
}

static bool all_answered(void)
{
	for (uint32_t i = 0; i < smp_slot_count; i++)
		if (smp_slots[i].cpu->online != CPU_ONLINE)
			return false;
	return true;
}

static bool wait_answers(uint64_t us)
{
	for (uint64_t waited = 0; waited < us; waited += POLL_US) {
		if (all_answered())
			return true;
		tsc_delay_us(POLL_US);
	}
	return all_answered();
}

static void send_startup(uint8_t page)
{
	for (uint32_t i = 0; i < smp_slot_count; i++)
		if (smp_slots[i].cpu->online != CPU_ONLINE)
			lapic_send_startup(smp_slots[i].apic_id, page);
}

static bool start_all(uint8_t page)
{
	for (uint32_t i = 0; i < smp_slot_count; i++)
		lapic_send_init(smp_slots[i].apic_id);
	tsc_delay_us(INIT_DELAY_US);
	send_startup(page);
	if (wait_answers(STARTUP_DELAY_US))
		return true;
	send_startup(page);
	return wait_answers(ANSWER_US);
}

static bool core_is_used(uint32_t apic_id, unsigned thread_bits, const struct smp_report *report)
{
	for (unsigned i = 0; i < report->online; i++)
		if (cpu_at(i)->apic_id >> thread_bits == apic_id >> thread_bits)
			return true;
	return false;
}

/* Gives the ones that run their numbers; the others are told by their mark that it is too late, or to halt. */
static void take_roll(unsigned thread_bits, struct smp_report *report)
{
	for (uint32_t i = 0; i < smp_slot_count; i++) {
		struct cpu *cpu = smp_slots[i].cpu;
		uint32_t expected = CPU_STARTING;

		if (atomic_compare_exchange_strong(&cpu->online, &expected, CPU_FAILED)) {
			report->failed_id[report->failed++] = cpu->apic_id;
			continue;
		}
		if (core_is_used(cpu->apic_id, thread_bits, report)) {
			cpu->online = CPU_PARKED;
			report->parked_id[report->parked++] = cpu->apic_id;
			continue;
		}
		cpu->index = report->online++;
		cpu_set_at(cpu->index, cpu);
	}
	cpu_set_count(report->online);
}

void smp_start(const struct boot_info *info, const struct frame_source *frames, unsigned thread_bits,
	       void (*entry)(void), struct smp_report *report)
{
	hpa_t low;

	*report = (struct smp_report){.online = 1};
	make_slots(info, frames, report);
	if (!smp_slot_count)
		return;
	low = frames->alloc_low(1 + TRAMPOLINE_TABLE_PAGES);
	if (hpa_is_none(low)) {
		report->ignored += smp_slot_count;
		return;
	}
	ap_entry = entry;
	paging_make_trampoline_tables(HPA(low.value + PAGE_SIZE), low);
	trampoline_write(low, HPA(low.value + PAGE_SIZE));
	if (!start_all((uint8_t)(low.value >> PAGE_SHIFT)))
		report->waited_us = INIT_DELAY_US + STARTUP_DELAY_US + ANSWER_US;
	take_roll(thread_bits, report);
	released = true;
	if (!report->failed) /* a late one may still be in there */
		frames->free(low, 1 + TRAMPOLINE_TABLE_PAGES);
}
