// SPDX-License-Identifier: GPL-2.0
//! Making other processors leave the guest and enter it again, by which they notice changes of the nested page table.

use core::sync::atomic::{AtomicBool, Ordering};

use hvcore::ids::VpIndex;

use crate::lapic::{self, ApicId};
use crate::smp::MAX_PROCESSORS;
use crate::startup;

/// Set for a processor that gets an NMI from here.
static KICKED: [AtomicBool; MAX_PROCESSORS] = [const { AtomicBool::new(false) }; MAX_PROCESSORS];

/// Kicks all processors of `0..count` that run the guest, but this one. It does not wait for them: one that is in the
/// hypervisor may be waiting for a lock of this one's.
pub fn others(count: u32) {
    let own = lapic::id();
    for id in (0..count).map(ApicId).filter(|id| *id != own) {
        if startup::is_running(VpIndex(id.0)) {
            KICKED[id.0 as usize].store(true, Ordering::SeqCst);
            lapic::send_nmi(id);
        }
    }
}

/// Whether the NMI that this processor, `vp`, has just taken may be from here.
pub fn taken(vp: VpIndex) -> bool {
    KICKED.get(vp.0 as usize).is_some_and(|kicked| kicked.swap(false, Ordering::SeqCst))
}
