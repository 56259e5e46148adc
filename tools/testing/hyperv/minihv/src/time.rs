// SPDX-License-Identifier: GPL-2.0
//! Time, from the time-stamp counter.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::lapic;

/// The local APIC timer of QEMU counts nanoseconds of guest time.
pub const LAPIC_TIMER_HZ: u64 = 1_000_000_000;
const CALIBRATION_TICKS: u32 = 50_000_000;

static START: AtomicU64 = AtomicU64::new(0);
/// Ticks per second; never zero.
static HERTZ: AtomicU64 = AtomicU64::new(LAPIC_TIMER_HZ);

/// The counter.
pub fn ticks() -> u64 {
    // SAFETY: the instruction has no preconditions at CPL 0.
    unsafe { _rdtsc() }
}

/// Ticks per second.
pub fn hertz() -> u64 {
    HERTZ.load(Ordering::Relaxed)
}

/// Microseconds since [`calibrate`] began.
pub fn microseconds() -> u64 {
    let elapsed = ticks().wrapping_sub(START.load(Ordering::Relaxed));
    (u128::from(elapsed) * 1_000_000 / u128::from(hertz())) as u64
}

/// Measures the counter's frequency against the local APIC timer, for 50 ms.
pub fn calibrate() {
    START.store(ticks(), Ordering::Relaxed);
    let (elapsed, timer_ticks) = lapic::time_with_timer(CALIBRATION_TICKS, ticks);
    let hertz = u128::from(elapsed) * u128::from(LAPIC_TIMER_HZ) / u128::from(timer_ticks.max(1));
    HERTZ.store((hertz as u64).max(1), Ordering::Relaxed);
}

/// Spins until `done`; false when that takes longer than `milliseconds`.
#[must_use]
pub fn wait_until(milliseconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = ticks();
    let limit = hertz() / 1000 * milliseconds;
    loop {
        if done() {
            return true;
        }
        if ticks().wrapping_sub(start) > limit {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Spins for `milliseconds`.
pub fn delay(milliseconds: u64) {
    let _ = wait_until(milliseconds, || false);
}
