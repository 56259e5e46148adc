// SPDX-License-Identifier: GPL-2.0
//! What the firmware left behind and the guest must not meet.

use x86_64::instructions::port::Port;

const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

/// Masks both 8259 interrupt controllers. The guest's hardware-reduced ACPI has it ignore them, but the firmware
/// leaves the timer unmasked on vector 8, which the guest would take for a double fault.
pub fn mask_interrupt_controllers() {
    for port in PIC_MASKS {
        // SAFETY: masking has no other effect, and no interrupt of theirs is waited for.
        unsafe { Port::<u8>::new(port).write(0xff) }
    }
}
