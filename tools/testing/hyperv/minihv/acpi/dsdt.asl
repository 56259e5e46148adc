/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's devices: the VMBus root with its two MMIO windows (the ones of memory.rs) and a serial port.
 * Everything else arrives over VMBus.
 */
DefinitionBlock ("", "DSDT", 2, "MINIHV", "MINIHV  ", 1)
{
	Name (\_S5, Package () { 5, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (VMB0)
		{
			Name (_HID, "VMBUS")
			Name (_UID, Zero)
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				/* Configuration windows and 32-bit BARs */
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
					0, 0xD0000000, 0xDFFFFFFF, 0, 0x10000000)
				/* 64-bit BARs */
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
					0, 0x1000000000, 0x1FFFFFFFFF, 0, 0x1000000000)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, One)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
			})
		}
	}
}
