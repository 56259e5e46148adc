// SPDX-License-Identifier: GPL-2.0
//! The end of a run, as QEMU and the runner see it.

use x86_64::instructions::{hlt, interrupts, port::Port};

/// QEMU's isa-debug-exit, when the machine has one: its exit status is then `value << 1 | 1`.
const DEBUG_EXIT: u16 = 0xf4;
/// ACPI PM1 control register of Q35 as its firmware sets it up.
const PM1_CONTROL: u16 = 0x604;
const SLEEP_ENABLE_S5: u16 = 0x2000;

/// Why the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered itself off: QEMU's exit status is 0.
    PowerOff,
    /// The guest reset itself: exit status 5 with isa-debug-exit, else 0.
    Reset,
    /// The hypervisor cannot go on: exit status 3 with isa-debug-exit, else 0.
    Fatal,
}

/// Stops the machine.
pub fn stop(outcome: Outcome) -> ! {
    let status = match outcome {
        Outcome::PowerOff => None,
        Outcome::Fatal => Some(1),
        Outcome::Reset => Some(2),
    };
    if let Some(status) = status {
        // SAFETY: without the device nothing listens there.
        unsafe { Port::<u32>::new(DEBUG_EXIT).write(status) }
    }
    // SAFETY: ends the machine; nothing can observe a broken state afterwards.
    unsafe { Port::<u16>::new(PM1_CONTROL).write(SLEEP_ENABLE_S5) }
    loop {
        interrupts::disable();
        hlt();
    }
}
