/* The PC put together; see pc.h. Wiring and addresses: hv/pc_map.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/pc.h"

#include "hv/config.h"
#include "hv/dev/apic_bus.h"
#include "hv/pc_map.h"

_Static_assert(CONFIG_MAX_VCPUS == PC_MAX_VCPUS, "the tables have room for all vCPUs that can be configured");
_Static_assert(CONFIG_MAX_VCPUS <= APIC_BUS_MAX, "every vCPU's local APIC has a place on the bus");

/* INTA and INTC share one input of the 8259s, INTB and INTD the other. */
static void set_intx(struct pc *pc, unsigned intx, bool level)
{
	pc->intx = (uint8_t)(level ? pc->intx | 1u << intx : pc->intx & ~(1u << intx));
	vpic_set_line(&pc->pic, intx % 2 ? PC_PCI_PIC_IRQ_ODD : PC_PCI_PIC_IRQ_EVEN, pc->intx & (intx % 2 ? 10 : 5));
	vioapic_set_line(&pc->ioapic, PC_GSI_INTX + intx, level);
}

/*
 * An ISA line leads to the 8259s and to the IOAPIC; which of them the guest listens to is the guest's choice. PCI's
 * lines have pins of the IOAPIC for themselves.
 */
static void set_line(void *ctx, unsigned line, bool level)
{
	struct pc *pc = ctx;

	if (line >= PC_GSI_INTX) {
		set_intx(pc, line - PC_GSI_INTX, level);
		return;
	}
	vpic_set_line(&pc->pic, line, level);
	vioapic_set_line(&pc->ioapic, line == PC_IRQ_PIT ? PC_PIT_IOAPIC_PIN : line, level);
}

static struct irq_line line(struct pc *pc, unsigned irq)
{
	return (struct irq_line){set_line, pc, irq};
}

int pc_init(struct pc *pc, const struct pc_setup *s)
{
	struct pci_host_setup pci = {.pio = &pc->pio, .mmio = &pc->mmio, .platform = &pc->platform, .apics = s->apics};
	int err;

	for (unsigned i = 0; i < PCI_INTX; i++)
		pci.intx[i] = line(pc, PC_GSI_INTX + i);

	pc->platform = s->platform;
	vpic_init(&pc->pic, s->pic_changed, s->pic_ctx);
	vioapic_init(&pc->ioapic, s->apics, s->ioapic_page, PC_IOAPIC_ID);
	timer_init(&pc->vga_timer, s->timers, s->lock, s->vga_fired);
	if ((err = vpic_attach(&pc->pic, &pc->pio)) || (err = vioapic_attach(&pc->ioapic, &pc->mmio)) ||
	    (err = pit_init(&pc->pit, &pc->pio, line(pc, PC_IRQ_PIT), s->timers, s->lock)) ||
	    (err =
		 rtc_init(&pc->rtc, &pc->pio, line(pc, PC_IRQ_RTC), s->timers, s->lock, s->memory, s->unix_seconds)) ||
	    (err = vuart_init(&pc->com1, &pc->pio, PC_PORT_COM1, line(pc, PC_IRQ_COM1), s->console)) ||
	    (err = i8042_init(&pc->i8042, &pc->pio, line(pc, PC_IRQ_KEYBOARD), &pc->platform)) ||
	    (err = vga_init(&pc->vga, &pc->pio, s->vga_text, s->console)) ||
	    (err = acpi_pm_init(&pc->acpi_pm, &pc->pio, line(pc, PC_IRQ_SCI), s->timers, s->lock, &pc->platform)) ||
	    (err = pci_host_init(&pc->pci, &pci)) ||
	    (err = debug_port_init(&pc->debug, &pc->pio, s->console, &pc->platform)))
		return err;
	pc_reset(pc);
	return 0;
}

void pc_reset(struct pc *pc)
{
	vpic_reset(&pc->pic);
	vioapic_reset(&pc->ioapic);
	pit_reset(&pc->pit);
	rtc_reset(&pc->rtc);
	vuart_reset(&pc->com1);
	i8042_reset(&pc->i8042);
	vga_reset(&pc->vga);
	acpi_pm_reset(&pc->acpi_pm);
	pci_host_reset(&pc->pci);
	debug_port_reset(&pc->debug);
	timer_cancel(&pc->vga_timer);
	pc->vga_open = false;
}

void pc_stop(struct pc *pc)
{
	timer_cancel(&pc->pit.timer);
	timer_cancel(&pc->rtc.timer);
	timer_cancel(&pc->acpi_pm.timer);
	timer_cancel(&pc->vga_timer);
}

/*
 * A guest that has programmed its serial port reads its console there; one that has not (a teaching kernel with a
 * screen) gets key presses. Both at once would type everything twice into a kernel that reads both.
 */
bool pc_type(struct pc *pc, uint8_t byte)
{
	bool serial = pc->com1.ier || pc->com1.lcr || pc->com1.fcr;

	return serial ? vuart_receive(&pc->com1, byte) : i8042_type(&pc->i8042, byte);
}
