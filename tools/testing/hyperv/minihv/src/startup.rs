// SPDX-License-Identifier: GPL-2.0
//! INIT and start-up IPIs between virtual processors. They never reach the hardware: a processor that is to stop or
//! to start is told here and woken by an NMI.

use core::sync::atomic::{AtomicU32, Ordering};

use hvcore::ids::VpIndex;

use crate::boot;
use crate::lapic::{self, ApicId};
use crate::smp::MAX_PROCESSORS;

/// States of a virtual processor; those with a start-up page carry it in bits 7:0.
mod state {
    /// Waits for a start-up IPI.
    pub const WAITING: u32 = 0;
    /// Was told to start.
    pub const STARTING: u32 = 0x100;
    /// Runs the guest.
    pub const RUNNING: u32 = 0x200;
    /// Was told to stop, still runs.
    pub const STOPPING: u32 = 0x300;
    /// Was told to stop and to start again, still runs.
    pub const RESTARTING: u32 = 0x400;
    /// All but the page.
    pub const KIND: u32 = !0xff;
}

static STATES: [AtomicU32; MAX_PROCESSORS] = [const { AtomicU32::new(state::WAITING) }; MAX_PROCESSORS];

/// The processor's state changes by `step` (`None`: it stays); tells whether it did.
fn transition(vp: VpIndex, step: impl Fn(u32) -> Option<u32>) -> bool {
    let Some(cell) = STATES.get(vp.0 as usize) else { return false };
    cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_ok()
}

/// The boot processor starts without any IPI.
pub fn mark_running(vp: VpIndex) {
    transition(vp, |_| Some(state::RUNNING));
}

/// A guest sent INIT to `vp`.
pub fn init(vp: VpIndex) {
    if transition(vp, |now| (now == state::RUNNING).then_some(state::STOPPING)) {
        lapic::send_nmi(ApicId(vp.0));
    }
}

/// A guest sent a start-up IPI for `page << 12` to `vp`. Ignored unless an INIT came before it.
pub fn startup(vp: VpIndex, page: u8) {
    let step = |now| match now {
        state::WAITING => Some(state::STARTING | u32::from(page)),
        state::STOPPING => Some(state::RESTARTING | u32::from(page)),
        _ => None,
    };
    if transition(vp, step) {
        lapic::send_nmi(ApicId(vp.0));
    }
}

/// Whether `vp`, which runs the guest, has to stop.
pub fn init_requested(vp: VpIndex) -> bool {
    let now = STATES.get(vp.0 as usize).map_or(state::RUNNING, |cell| cell.load(Ordering::SeqCst));
    matches!(now & state::KIND, state::STOPPING | state::RESTARTING)
}

/// Whether `vp` runs the guest.
pub fn is_running(vp: VpIndex) -> bool {
    STATES.get(vp.0 as usize).is_some_and(|cell| cell.load(Ordering::SeqCst) & state::KIND == state::RUNNING)
}

/// Sleeps until the guest starts this processor, `vp`; returns the start-up page.
pub fn wait(vp: VpIndex) -> u8 {
    loop {
        let now = STATES.get(vp.0 as usize).map_or(state::WAITING, |cell| cell.load(Ordering::SeqCst));
        match now & state::KIND {
            state::STARTING | state::RESTARTING => {
                mark_running(vp);
                return now as u8;
            }
            state::STOPPING => {
                // A start-up IPI may come at the same moment.
                transition(vp, |now| (now == state::STOPPING).then_some(state::WAITING));
            }
            _ => boot::sleep_until_nmi(),
        }
    }
}
