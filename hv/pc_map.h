/*
 * Where things are in the guest's PC: addresses, ports and interrupt wiring on which the devices, the ACPI and MP
 * tables and the VM that wires them must agree. Constants only; read by hv/dev, hv/load and hv/pc.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

/* BIOS data area and the tables that a firmware would have left, all in guest memory that is no RAM above 640 KiB. */
#define PC_BDA		   0x00400u
#define PC_EBDA		   0x9FC00u /* 1 KiB; base memory is what lies below: 639 KiB */
#define PC_BASE_MEMORY_KIB 639u
#define PC_VGA_TEXT	   0xB8000u
#define PC_VGA_TEXT_SIZE   0x8000u
#define PC_ACPI_TABLES	   0xE0000u /* the RSDP is the first thing here */
#define PC_MP_TABLE	   0xF0000u /* the MP floating pointer is the first thing here */

#define PC_LAPIC_ADDRESS  0xFEE00000u
#define PC_IOAPIC_ADDRESS 0xFEC00000u
#define PC_IOAPIC_PINS	  24u
/* Local APIC IDs are 0 .. vcpus - 1, at most 32 (CONFIG_MAX_VCPUS). The IOAPIC's ID is what its ID register holds after
 * reset; without an APIC bus it shares no number space with the local APICs. */
#define PC_MAX_VCPUS	  32u
#define PC_IOAPIC_ID	  0u
#define PC_IOAPIC_VERSION 0x20u

/* The device hole under 4 GiB, in which there is never RAM. It begins with PCI's window for BARs; ECAM of bus 0
 * follows. */
#define PC_HOLE		   0xC0000000u
#define PC_HOLE_SIZE	   0x40000000u
#define PC_PCI_MEMORY	   0xC0000000u
#define PC_PCI_MEMORY_SIZE 0x20000000u
#define PC_ECAM		   0xE0000000u
#define PC_ECAM_SIZE	   0x100000u /* 32 devices of 8 functions of 4 KiB */
#define PC_PCI_IO	   0xC000u
#define PC_PCI_IO_SIZE	   0x1000u

/* Where a VM may map what its peers grant it (hv/abi.h): neither RAM nor a device. */
#define PC_SHARED_MEMORY      0xE8000000u
#define PC_SHARED_MEMORY_SIZE 0x00400000u /* as much as can be mapped at once */
#define PC_SHARED_TABLES      3u	  /* page tables that this takes at most: two, and the directory above them */

/* ISA interrupts. Each IRQ n leads to 8259 input n and IOAPIC pin n, except IRQ 0, which leads to IOAPIC pin 2. */
#define PC_IRQ_PIT	  0u
#define PC_IRQ_KEYBOARD	  1u
#define PC_IRQ_COM1	  4u
#define PC_IRQ_RTC	  8u
#define PC_IRQ_SCI	  9u /* level-triggered, active high, as is IOAPIC pin 9 */
#define PC_PIT_IOAPIC_PIN 2u
/* PCI's INTA to INTD: IOAPIC pins of their own, level-triggered; the 8259s have two inputs for the four. */
#define PC_GSI_INTX	    16u
#define PC_PCI_PIC_IRQ_EVEN 10u
#define PC_PCI_PIC_IRQ_ODD  11u

/* Ports. */
#define PC_PORT_COM1	  0x3F8u
#define PC_PORT_PM1_EVENT 0x600u /* PM1a_EVT_BLK, 4 bytes: status, enable */
#define PC_PORT_PM1_CNT	  0x604u /* PM1a_CNT_BLK, 2 bytes */
#define PC_PORT_PM_TIMER  0x608u /* PM_TMR_BLK, 4 bytes */
#define PC_PORT_RESET	  0xCF9u /* FADT RESET_REG; PC_RESET_VALUE written there restarts the machine */
#define PC_RESET_VALUE	  0x06u
#define PC_SLP_TYP_S5	  5u /* what \_S5 in the DSDT says and PM1a control understands as power-off */
