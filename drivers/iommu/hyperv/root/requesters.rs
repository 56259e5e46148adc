// SPDX-License-Identifier: GPL-2.0

//! The requesters of this partition.

use super::{
    domain_name::DomainName,
    places::Requester, //
};
use kernel::{
    hyperv::pci_device::PciDeviceId,
    prelude::*,
    sync::SpinLockIrq, //
};

/// A requester of this partition.
pub(crate) type OwnRequester = Requester<PciDeviceId, DomainName>;

/// Enters a device's requesters.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn enter(all: &SpinLockIrq<KVec<OwnRequester>>, ids: &[PciDeviceId]) -> Result {
    let mut room = KVec::new();
    let mut requesters = loop {
        let requesters = all.lock();
        let wanted = requesters.len() + ids.len();
        if requesters.capacity() >= wanted || room.capacity() >= wanted {
            break requesters;
        }
        drop(requesters);
        room = KVec::with_capacity(2 * wanted, GFP_KERNEL)?;
    };
    if requesters.capacity() < room.capacity() {
        for requester in requesters.iter() {
            let _ = room.push_within_capacity(*requester);
        }
        core::mem::swap(&mut *requesters, &mut room);
    }
    for id in ids {
        match requesters.iter_mut().find(|r| r.id == *id) {
            Some(requester) => requester.enter(),
            None => {
                let _ = requesters.push_within_capacity(Requester::new(*id));
            }
        }
    }
    // The old memory is freed after the lock is released.
    drop(requesters);
    drop(room);
    Ok(())
}
