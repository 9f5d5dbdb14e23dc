/* The least that lets an operating system power the machine off. Chapter 7.4.2 of ACPI 6.5: \_S5. */
/* SPDX-License-Identifier: MIT */
DefinitionBlock ("", "DSDT", 2, "VIREO ", "TESTBED ", 1)
{
	/* PIIX4: a sleep type of 0 in PM1_CNT switches off (82371AB data sheet, 7.2.3) */
	Name (\_S5, Package () { 0, 0, 0, 0 })
}
