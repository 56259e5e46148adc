// SPDX-License-Identifier: GPL-2.0
//! The local APIC of the processor this runs on, in whichever mode the guest put it.
//!
//! The guest owns the local APICs. The hypervisor writes the interrupt command register, and only while the guest is
//! not running on the same processor.

use x86_64::registers::model_specific::Msr;

use crate::memory::LAPIC_BASE;

/// MSR that holds mode and base address.
pub const MSR_APIC_BASE: u32 = 0x1b;
/// x2APIC interrupt command register.
pub const MSR_X2APIC_ICR: u32 = 0x830;
const MSR_X2APIC_FIRST: u32 = 0x800;
/// APIC base: set on the boot processor.
pub const APIC_BASE_BOOT_PROCESSOR: u64 = 1 << 8;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const APIC_BASE_ENABLE: u64 = 1 << 11;
/// APIC base: the bits that choose the mode.
pub const APIC_BASE_MODE: u64 = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

const ID: u32 = 0x20;
const TPR: u32 = 0x80;
const EOI: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const TIMER: u32 = 0x320;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;

/// A local APIC id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicId(pub u32);

/// How the registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through their page, or switched off.
    XApic,
    /// As MSRs.
    X2Apic,
}

/// The processor does not change from the present mode to the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTransition;

fn base() -> u64 {
    // SAFETY: reading the APIC base has no side effects.
    unsafe { Msr::new(MSR_APIC_BASE).read() }
}

/// The mode now.
pub fn mode() -> Mode {
    match base() & APIC_BASE_X2APIC {
        0 => Mode::XApic,
        _ => Mode::X2Apic,
    }
}

/// This processor's own id.
pub fn id() -> ApicId {
    match mode() {
        Mode::XApic => ApicId(read(ID) >> 24),
        Mode::X2Apic => ApicId(read(ID)),
    }
}

/// Sets the mode bits of the APIC base ([`APIC_BASE_MODE`]).
///
/// # Errors
/// [`BadTransition`] where the processor would answer with a general protection fault.
pub fn set_mode(wanted: u64) -> Result<(), BadTransition> {
    const OFF: u64 = 0;
    const XAPIC: u64 = APIC_BASE_ENABLE;
    const X2APIC: u64 = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    let base = base();
    match (base & APIC_BASE_MODE, wanted) {
        (OFF, OFF | XAPIC) | (XAPIC, OFF | XAPIC) | (X2APIC, OFF | X2APIC) => {}
        (XAPIC, X2APIC) if has_x2apic() => {}
        _ => return Err(BadTransition),
    }
    // SAFETY: the address stays, and the change of mode is one that the processor allows.
    unsafe { Msr::new(MSR_APIC_BASE).write(base & !APIC_BASE_MODE | wanted) }
    Ok(())
}

fn has_x2apic() -> bool {
    // SAFETY: every processor that runs in long mode has CPUID.
    unsafe { core::arch::x86_64::__cpuid(1) }.ecx & 1 << 21 != 0
}

fn register(offset: u32) -> *mut u32 {
    (LAPIC_BASE + u64::from(offset)) as *mut u32
}

fn read(offset: u32) -> u32 {
    match mode() {
        // SAFETY: the page is identity mapped and holds this processor's APIC; these registers read without effects.
        Mode::XApic => unsafe { register(offset).read_volatile() },
        // SAFETY: the MSR exists in this mode.
        Mode::X2Apic => unsafe { Msr::new(MSR_X2APIC_FIRST + (offset >> 4)).read() as u32 },
    }
}

fn write(offset: u32, value: u32) {
    match mode() {
        // SAFETY: as in read(); the callers in this file write only what is theirs to write.
        Mode::XApic => unsafe { register(offset).write_volatile(value) },
        // SAFETY: as above.
        Mode::X2Apic => unsafe { Msr::new(MSR_X2APIC_FIRST + (offset >> 4)).write(u64::from(value)) },
    }
}

/// Writes the interrupt command register: destination (ignored with a shorthand) and low word.
pub fn send(destination: ApicId, command: u32) {
    match mode() {
        Mode::XApic => {
            write(ICR_HIGH, destination.0 << 24);
            write(ICR_LOW, command);
        }
        // SAFETY: the MSR exists in this mode; reserved bits are masked by the callers.
        Mode::X2Apic => unsafe {
            Msr::new(MSR_X2APIC_ICR).write(u64::from(destination.0) << 32 | u64::from(command));
        },
    }
}

/// Raises a fixed, edge-triggered interrupt.
pub fn send_fixed(destination: ApicId, vector: u8) {
    send(destination, LEVEL_ASSERT | u32::from(vector));
}

/// Sends an NMI.
pub fn send_nmi(destination: ApicId) {
    send(destination, LEVEL_ASSERT | DELIVERY_NMI);
}

/// Sends INIT.
pub fn send_init(destination: ApicId) {
    send(destination, LEVEL_ASSERT | DELIVERY_INIT);
}

/// Sends a start-up IPI for real-mode code at `page << 12`.
pub fn send_startup(destination: ApicId, page: u8) {
    send(destination, LEVEL_ASSERT | DELIVERY_STARTUP | u32::from(page));
}

/// Both halves of the interrupt command register, in the xAPIC's layout.
pub fn interrupt_command() -> u64 {
    match mode() {
        Mode::XApic => u64::from(read(ICR_HIGH)) << 32 | u64::from(read(ICR_LOW)),
        // SAFETY: the MSR exists in this mode and reads without effects.
        Mode::X2Apic => unsafe { Msr::new(MSR_X2APIC_ICR).read() },
    }
}

/// Ends the highest interrupt in service.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// The task priority.
pub fn task_priority() -> u32 {
    read(TPR)
}

/// Sets the task priority.
pub fn set_task_priority(priority: u8) {
    write(TPR, u32::from(priority));
}

/// Runs the timer for `duration` ticks; returns how far `clock` moved, and by how many ticks the timer really did.
pub fn time_with_timer(duration: u32, clock: impl Fn() -> u64) -> (u64, u32) {
    const ENABLED: u32 = 0x1ff;
    const MASKED: u32 = 1 << 16;
    const DIVIDE_BY_1: u32 = 0xb;
    write(SPURIOUS, ENABLED);
    write(TIMER, MASKED);
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(TIMER_INITIAL, u32::MAX);
    let (clock_start, timer_start) = (clock(), read(TIMER_CURRENT));
    while timer_start - read(TIMER_CURRENT) < duration {
        core::hint::spin_loop();
    }
    let result = (clock() - clock_start, timer_start - read(TIMER_CURRENT));
    write(TIMER_INITIAL, 0);
    result
}
