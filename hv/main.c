/*
 * Where the parts are put together: from boot_info to running guests. Entered once on the boot CPU by start.asm; the
 * other CPUs come in through cpu_main. Each step that fails for the machine says so on serial and screen and stops.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/acpi.h"
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mce.h"
#include "arch/x86/paging.h"
#include "arch/x86/power.h"
#include "arch/x86/registers.h"
#include "arch/x86/shadow.h"
#include "arch/x86/slide.h"
#include "arch/x86/smp.h"
#include "arch/x86/timer_try.h"
#include "arch/x86/topology.h"
#include "arch/x86/trap.h"
#include "arch/x86/tsc.h"
#include "arch/x86/tsc_sync.h"
#include "arch/x86/virt.h"
#include "drivers/keyboard.h"
#include "drivers/screen.h"
#include "drivers/uart.h"
#include "hv/boot_info.h"
#include "hv/clock.h"
#include "hv/config.h"
#include "hv/console.h"
#include "hv/exit/msr.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/report.h"
#include "hv/run.h"
#include "hv/sched/sched.h"
#include "hv/shell/shell.h"
#include "hv/stray.h"
#include "hv/vms.h"
#include "version.h"

typedef unsigned long long ull;

void hv_main(hpa_t info_hpa);

static RO_AFTER_INIT struct config config;
static const struct sched_ops *const schedulers[] = {
    [SCHEDULER_SHARE] = &policy_share, [SCHEDULER_RR] = &policy_rr, [SCHEDULER_DEDICATED] = &policy_dedicated};
static const struct frame_source frames = {phys_alloc, phys_alloc_low, phys_free};
static const struct phys_view direct_map = {paging_show_chunk, paging_hide_chunk};

/* The other CPUs wait for the first, turn VT-x on, count themselves and join the loop. */
static _Atomic bool machine_ready;
static _Atomic unsigned vmx_ready, vmx_failures;

/* Nothing more can be done: say so and sleep. The machine is switched off or reset by hand. */
static _Noreturn void stop_machine(const char *why)
{
	log_error("vireo: %s", why);
	log_error("vireo: the machine is halted");
	log_flush();
	for (;;)
		hlt();
}

static hpa_t zeroed_page(void)
{
	hpa_t page = phys_alloc(1, 1);

	if (!hpa_is_none(page))
		memset(phys_to_virt(page), 0, PAGE_SIZE);
	return page;
}

static void free_page(hpa_t page)
{
	phys_free(page, 1);
}

static hpa_t promised_page(void)
{
	hpa_t page = phys_take_frame();

	memset(phys_to_virt(page), 0, PAGE_SIZE);
	return page;
}

static const void *map_firmware(hpa_t hpa, uint64_t size)
{
	return mmio_map(hpa, size, MAP_READONLY);
}

static void open_screen(const struct boot_framebuffer *fb, void *pixels)
{
	struct screen_mode mode = {
	    .pixels = pixels, .size = fb->size, .width = fb->width, .height = fb->height, .pitch = fb->pitch};

	if (!pixels || screen_init(&mode))
		log_error("screen: a framebuffer of %ux%u, pitch %u, can't be used", fb->width, fb->height, fb->pitch);
}

/* The hand-over can't be believed. Serial first: the screen is reached through the loader's own mapping, if at all. */
static _Noreturn void refuse_info(const struct boot_info *info, const char *error)
{
	const struct boot_framebuffer *fb = boot_info_screen(info);

	log_error("vireo: %s", error);
	log_flush();
	if (fb)
		open_screen(fb, phys_to_virt(HPA(fb->hpa)));
	stop_machine("started by a loader that does not fit");
}

/* On our own consoles only, as all of this. */
static void report_place(const struct boot_info *info)
{
	static const char *const from[] = {
	    [BOOT_RANDOM_OFF] = "aslr = off",
	    [BOOT_RANDOM_FIRMWARE] = "chosen by firmware's random numbers",
	    [BOOT_RANDOM_RDSEED] = "chosen by RDSEED",
	    [BOOT_RANDOM_RDRAND] = "chosen by RDRAND",
	    [BOOT_RANDOM_TSC] = "chosen by the TSC alone, which can be guessed",
	};

	log_info("core: slide 0x%llx, %s", (ull)core_slide(), from[info->random_source]);
}

static const char *on_off(uint64_t bit)
{
	return bit ? "on" : "off";
}

static void check_pages(void)
{
	uint64_t cr4 = read_cr4();
	uint64_t bad = paging_check_wx();

	if (bad)
		panic("page tables: %llu pages are both writable and executable", (ull)bad);
	log_info("page tables: walked, no page is both writable and executable; SMEP %s, SMAP %s, UMIP %s, "
		 "shadow stacks %s",
		 on_off(cr4 & CR4_SMEP), on_off(cr4 & CR4_SMAP), on_off(cr4 & CR4_UMIP), on_off(cr4 & CR4_CET));
}

/* Memory, page tables, screen: from here on everything can allocate and speak. */
static void take_memory(const struct boot_info *info)
{
	if (phys_init(info) || paging_init(info, &frames) || shadow_create(this_cpu()))
		stop_machine("no memory for the core's own tables");
	phys_set_view(&direct_map);
	if (info->framebuffer.hpa)
		open_screen(&info->framebuffer, mmio_map(HPA(info->framebuffer.hpa), info->framebuffer.size, MAP_WC));
	log_info("memory: %llu MiB free of %llu MiB", (ull)(phys_free_bytes() / MIB), (ull)(phys_total_bytes() / MIB));
}

/* Keys are heard by interrupt only. */
static void take_keyboard(void)
{
	if (ioapic_route_isa(KEYBOARD_IRQ, VECTOR_KEYBOARD, lapic_id()))
		return;
	irq_register(VECTOR_KEYBOARD, log_keyboard_irq, NULL);
	log_info("keyboard: %s", keyboard_init() ? "no PS/2 controller answers" : "PS/2, US layout");
}

/* Interrupt controllers, clock, serial and keyboard interrupt. */
static void take_interrupts(const struct boot_info *info)
{
	const char *what = "";
	char why[300];
	uint64_t hz;

	if (acpi_init(HPA(info->rsdp_hpa), map_firmware, &what))
		log_info("acpi: none used%s%s", *what ? ": " : "", what);
	power_init();
	if (lapic_init())
		stop_machine("firmware left the local APIC disabled");
	hz = tsc_calibrate(why, sizeof(why));
	if (!hz) {
		log_error("vireo: %s", why);
		stop_machine("the TSC can't be calibrated: nothing counts that it could be measured by");
	}
	clock_set_hz(hz);
	log_info("clock: TSC runs at %llu.%03llu MHz; local APIC timer in %s mode", (ull)(hz / 1000000),
		 (ull)(hz / 1000 % 1000), lapic_timer_is_deadline() ? "TSC-deadline" : "count");
	if (ioapic_init() || ioapic_route_isa(UART_IRQ, VECTOR_UART, lapic_id()))
		log_error("ioapic: none found; serial input is looked at only when the machine is idle, keys never");
	irq_register(VECTOR_UART, log_irq, NULL);
	take_keyboard();
	if (timer_try(hz, why, sizeof(why))) {
		log_error("vireo: %s", why);
		stop_machine("the local APIC's timer does not go off");
	}
}

static void cpu_main(void)
{
	char why[200];

	mce_init_this();
	tsc_sync_answer();
	while (!atomic_load(&machine_ready))
		cpu_pause();
	paging_flush(); /* of paging_seal() */
	if (virt_cpu_enable(why, sizeof(why)) == 0) {
		atomic_fetch_add(&vmx_ready, 1);
		shadow_enter();
		run_loop();
	}
	log_error("vireo: %s", why);
	atomic_fetch_add(&vmx_failures, 1);
	for (;;)
		hlt();
}

static void sync_clocks(void)
{
	for (unsigned i = 1; i < cpu_count(); i++) {
		int64_t skew = tsc_sync_ask(i);

		if (skew)
			log_info("clock: the TSC of CPU %u was %lld ticks off, and was set right", i, (long long)skew);
	}
}

static void report_parked(const struct smp_report *report)
{
	char ids[160];
	size_t n = 0;

	ids[0] = 0;
	for (unsigned i = 0; i < report->parked && n < sizeof(ids); i++)
		n += (size_t)snprintf(ids + n, sizeof(ids) - n, "%s%u", i ? ", " : "", report->parked_id[i]);
	if (report->parked)
		log_info("cpus: %u are further threads of a core and run no guests (smt = off), APIC IDs %s",
			 report->parked, ids);
}

static void start_cpus(const struct boot_info *info)
{
	struct smp_report report;

	smp_start(info, &frames, config.hv.mitigations.smt ? 0 : topology_thread_bits(cpuid), cpu_main, &report);
	log_info("cpus: %u online", report.online);
	report_parked(&report);
	for (unsigned i = 0; i < report.failed; i++)
		log_error(
		    "cpus: APIC ID %u: found no answer to INIT and STARTUP in %llu us, expected one; it is left out",
		    report.failed_id[i], (ull)report.waited_us);
	if (report.ignored)
		log_error("cpus: %u ignored (at most %u are used)", report.ignored, MAX_CPUS);
	sync_clocks();
}

/* All CPUs must have VT-x and agree: a vCPU may be placed on any. */
static void release_cpus(void)
{
	atomic_store(&machine_ready, true);
	while (atomic_load(&vmx_ready) + atomic_load(&vmx_failures) < cpu_count() - 1)
		cpu_pause();
	if (atomic_load(&vmx_failures))
		stop_machine("not every CPU can run guests");
}

static void feature_line(const char *text)
{
	log_info("vt-x: %s", text);
}

static void report_mitigations(void)
{
	static const struct {
		enum mitigation_state state;
		const char *text;
	} groups[] = {
	    {MITIGATION_ON, "on"},
	    {MITIGATION_FORCED, "on, though not needed (mitigations = all)"},
	    {MITIGATION_UNNEEDED, "not needed"},
	    {MITIGATION_REFUSED, "needed, but switched off (mitigations)"},
	    {MITIGATION_MISSING, "needed, but the processor can't, its microcode may be old"},
	};
	const struct mitigation_plan *plan = virt_mitigations();
	char text[320];

	for (unsigned i = 0; i < ARRAY_SIZE(groups); i++) {
		if (mitigations_format(plan, groups[i].state, text, sizeof(text)))
			log_info("side channels: %s: %s", groups[i].text, text);
	}
	if (plan->threads_leak)
		log_error("side channels: smt = on: VMs on the threads of a core can read each other (%s)",
			  plan->threads_leak);
}

/* Without it no guest runs, but the shell does: who looks for the reason has a keyboard and the log. */
static bool enable_virtualization(void)
{
	static const struct virt_pages pages = {
	    .alloc = zeroed_page,
	    .free = free_page,
	    .promise = phys_reserve_frames,
	    .release = phys_unreserve_frames,
	    .take = promised_page,
	};
	struct virt_wish wish = {config.hv.vpid, config.hv.preemption_timer, config.hv.apicv, config.hv.mitigations};
	const struct virt_features *f = virt_features();
	char why[240];

	virt_set_pages(&pages);
	if (virt_probe(&wish, why, sizeof(why)) || virt_cpu_enable(why, sizeof(why))) {
		log_error("vireo: %s", why);
		return false;
	}
	msr_init();
	report_mitigations();
	virt_report(feature_line, config.hv.verbose);
	log_info("vt-x: on; VPID %s, preemption timer %s, APICv %s", f->vpid ? "used" : "not used",
		 f->preemption_timer ? "used" : "not used", f->apicv ? "used" : "not used");
	return true;
}

static void load_config(const struct boot_info *info)
{
	char error[CONFIG_ERROR_MAX];

	if (config_parse(&config, info, info->config_hpa ? phys_to_virt(HPA(info->config_hpa)) : "", error))
		stop_machine(error);
	log_set_verbose(config.hv.verbose);
	log_set_baud((uint32_t)config.hv.serial_baud);
}

static void define_vm(const struct vm_config *c)
{
	char why[CONFIG_ERROR_MAX];

	if (c->error[0])
		log_error("vireo.conf: %s", c->error);
	else if (!vms_define(c, why))
		log_error("%s", why);
}

static void define_vms(void)
{
	for (unsigned i = 0; i < config.vm_count; i++)
		define_vm(&config.vm[i]);
}

/* Those that start by themselves. With none of them the shell has the console. */
static void start_vms(void)
{
	char why[CONFIG_ERROR_MAX];
	unsigned wanted = 0;

	for (struct vms_entry *e = vms_first(); e; e = e->next) {
		if (!e->config.autostart)
			continue;
		wanted++;
		if (vms_start(e, why))
			log_error("vm %s: not started: %s", e->config.name, why);
	}
	if (!vms_alive() && (wanted || !vms_first()))
		log_error("vireo: no guest could be started");
}

void hv_main(hpa_t info_hpa)
{
	const struct boot_info *info;
	uint64_t entry = rdtsc();
	char error[160];
	bool guests;

	cpu_init_bsp();
	log_init(115200, entry);
	info = phys_to_virt(info_hpa);
	report_set_start(entry);
	if (boot_info_check(info, error, sizeof(error)))
		refuse_info(info, error);
	log_info("vireo: core entered; %llu ticks in the loader, %llu of them reading files",
		 (ull)(info->entry_tsc - info->start_tsc), (ull)info->copy_ticks);
	log_info("vireo: version %s", VIREO_VERSION);
	report_place(info);
	take_memory(info);
	shadow_enter(); /* neither this function nor the one that the other CPUs come in by ever returns */
	mce_init_this();
	take_interrupts(info);
	load_config(info);
	guests = enable_virtualization();
	if (guests)
		start_cpus(info);
	pcpu_init(cpu_count());
	stray_init();
	sched_init(schedulers[config.hv.scheduler], cpu_count(), clock_hz() / 1000);
	run_init();
	console_init(&shell_console, config.hv.background);
	vms_init(info, guests);
	define_vms();
	paging_seal();
	check_pages();
	if (guests) {
		release_cpus();
		start_vms();
	} else {
		log_error("vireo: no guest can run on this machine; what is left is the shell");
	}
	log_info("memory: %llu KiB used by Vireo itself, its image included",
		 (ull)((info->core_size + phys_total_bytes() - phys_free_bytes() - vms_guest_bytes()) / KIB));
	if (!vms_alive())
		console_focus(NULL);
	run_loop();
}
