// SPDX-License-Identifier: GPL-2.0
//! INIT and start-up IPIs between virtual processors. They never reach the hardware: a processor that is to stop or
//! to start is told here and woken by an NMI.

use core::sync::atomic::{AtomicU32, Ordering};

use hvcore::ids::VpIndex;
use hvcore::startup::{self as transitions, state, Next};

use crate::boot;
use crate::lapic::{self, ApicId};
use crate::smp::MAX_PROCESSORS;

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
    if transition(vp, transitions::on_init) {
        lapic::send_nmi(ApicId(vp.0));
    }
}

/// A guest sent a start-up IPI for `page << 12` to `vp`. Ignored unless an INIT came before it.
pub fn startup(vp: VpIndex, page: u8) {
    if transition(vp, |now| transitions::on_startup(now, page)) {
        lapic::send_nmi(ApicId(vp.0));
    }
}

/// Whether `vp`, which runs the guest, has to stop.
pub fn init_requested(vp: VpIndex) -> bool {
    let now = STATES.get(vp.0 as usize).map_or(state::RUNNING, |cell| cell.load(Ordering::SeqCst));
    transitions::must_stop(now)
}

/// Whether `vp` runs the guest.
pub fn is_running(vp: VpIndex) -> bool {
    STATES.get(vp.0 as usize).is_some_and(|cell| cell.load(Ordering::SeqCst) & state::KIND == state::RUNNING)
}

/// Sleeps until the guest starts this processor, `vp`; returns the start-up page.
pub fn wait(vp: VpIndex) -> u8 {
    loop {
        let now = STATES.get(vp.0 as usize).map_or(state::WAITING, |cell| cell.load(Ordering::SeqCst));
        match transitions::next(now) {
            Next::Start(page) => {
                mark_running(vp);
                return page;
            }
            // A start-up IPI may come at the same moment.
            Next::Settle => {
                transition(vp, transitions::on_settle);
            }
            Next::Sleep => boot::sleep_until_nmi(),
        }
    }
}
