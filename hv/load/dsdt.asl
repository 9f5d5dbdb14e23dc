/*
 * The guest's devices that have no bus to find them on. Kept short: a guest interprets this at every boot. Processors
 * are added behind it by acpi.c, one for each vCPU. Ports and interrupts as in hv/pc_map.h. ACPI 6.4 chapter 6.
 */
/* SPDX-License-Identifier: MIT */
DefinitionBlock ("", "DSDT", 2, "VIREO ", "VIREO-PC", 1)
{
	Name (\_S5, Package () { 5, 0, 0, 0 }) // PC_SLP_TYP_S5

	Scope (\_SB)
	{
		Device (KBD)
		{
			Name (_HID, EisaId ("PNP0303"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x60, 0x60, 1, 1)
				IO (Decode16, 0x64, 0x64, 1, 1)
				IRQNoFlags () {1}
			})
		}

		Device (RTC)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x70, 0x70, 1, 2)
				IRQNoFlags () {8}
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3F8, 0x3F8, 1, 8)
				IRQNoFlags () {4}
			})
		}
	}
}
