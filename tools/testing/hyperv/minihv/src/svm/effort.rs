// SPDX-License-Identifier: GPL-2.0
//! What exits cost: their number, and the ticks from each to the next entry. The world switches themselves are left
//! out; they cost the same each time.

use core::sync::atomic::{AtomicU64, Ordering};

use hvcore::ids::VpIndex;
use hvcore::platform::Effort;

use crate::smp::MAX_PROCESSORS;

/// One processor's; nobody else writes to it.
#[repr(align(64))]
struct Account {
    exits: AtomicU64,
    ticks: AtomicU64,
}

static ACCOUNTS: [Account; MAX_PROCESSORS] =
    [const { Account { exits: AtomicU64::new(0), ticks: AtomicU64::new(0) } }; MAX_PROCESSORS];

/// Enters an exit of processor `vp`, which is this one, that took `ticks`.
pub fn add(vp: VpIndex, ticks: u64) {
    let bump = |count: &AtomicU64, by| count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    let account = &ACCOUNTS[vp.0 as usize];
    bump(&account.exits, 1);
    bump(&account.ticks, ticks);
}

/// So far, of all processors, without exits that are being handled.
pub fn total() -> Effort {
    let sum = |count: fn(&Account) -> &AtomicU64| {
        ACCOUNTS.iter().map(|account| count(account).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    };
    Effort { exits: sum(|account| &account.exits), ticks: sum(|account| &account.ticks) }
}
