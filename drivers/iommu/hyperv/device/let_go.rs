// SPDX-License-Identifier: GPL-2.0

//! Devices that the kernel has let go of while the host still has them.
//!
//! The kernel may let go of a device because somebody removed it, or because it could not be taken
//! into service. Such a device stays in the blocking domain, which cannot be deleted as long as it
//! has a device. A device that could not be blocked when the kernel let go of it may still be in a
//! domain with a table.

use super::block::{
    block,
    block_detached,
    is_gone,
    Before,
    Blocked,
    NotBlocked, //
};
use crate::host::{
    calls,
    domain_ids::DomainId, //
};
use kernel::{
    hyperv::{
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Mutex,
        MutexGuard, //
    }, //
};

/// Where such a device is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// In the blocking domain.
    Blocked,
    /// In no domain, which blocks it.
    Detached,
    /// It could not be blocked.
    Loose,
}

struct Entry {
    id: LogicalDeviceId,
    left: Left,
}

impl Entry {
    /// Blocks the device once more.
    fn block(&mut self, blocking: Option<DomainId>) {
        let result = match self.left {
            Left::Blocked => block(self.id, blocking, Before::Blocked),
            Left::Detached => Ok(block_detached(self.id, blocking)),
            Left::Loose => block(self.id, blocking, Before::Elsewhere),
        };
        self.left = match result {
            Ok(Blocked::Detached) => Left::Detached,
            Ok(_) => Left::Blocked,
            Err(_) => Left::Loose,
        };
    }
}

/// The devices that were let go of.
#[pin_data]
pub(crate) struct LetGo {
    #[pin]
    entries: Mutex<KVec<Entry>>,
    /// How many devices could not be blocked, and could not be entered for lack of memory.
    unlisted: Atomic<usize>,
}

impl LetGo {
    /// No device so far.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_mutex!(KVec::new()),
            unlisted: Atomic::new(0),
        })
    }

    /// Enters a device that was blocked with this result.
    ///
    /// Context: may sleep.
    pub(crate) fn add_blocked(&self, id: LogicalDeviceId, result: Result<Blocked, NotBlocked>) {
        match result {
            Ok(Blocked::Attached) => self.add(id, Left::Blocked),
            Ok(Blocked::Detached | Blocked::Gone | Blocked::Replaced) => {}
            Err(_) => self.add(id, Left::Loose),
        }
    }

    /// Enters a device, or notes where an entered one is now. If there is no memory for that, a
    /// blocked device is detached instead, so that the blocking domain can be deleted.
    ///
    /// Context: may sleep.
    pub(crate) fn add(&self, id: LogicalDeviceId, left: Left) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
            entry.left = left;
            return;
        }
        if entries.len() == entries.capacity() {
            // The host may have taken some of them away since.
            entries.retain(|entry| !is_away(entry.id));
        }
        if entries.push(Entry { id, left }, GFP_KERNEL).is_ok() {
            return;
        }
        match left {
            Left::Blocked => {
                // If this fails, hibernation fails, too, with a message.
                let _ = calls::detach(id);
            }
            Left::Detached => {}
            Left::Loose => {
                self.unlisted.fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes a device out, which the kernel has found again.
    ///
    /// Context: may sleep.
    pub(super) fn remove(&self, id: LogicalDeviceId) {
        self.entries.lock().retain(|entry| entry.id != id);
    }

    /// Where a device is. [`None`]: it was not let go of.
    ///
    /// Context: may sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn left(&self, id: LogicalDeviceId) -> Option<Left> {
        let entries = self.entries.lock();
        entries
            .iter()
            .find(|entry| entry.id == id)
            .map(|it| it.left)
    }

    /// Tries once more to block the devices that could not be blocked. Returns how many of them may
    /// still do DMA.
    ///
    /// Context: may sleep.
    pub(crate) fn block_loose(&self, blocking: Option<DomainId>) -> usize {
        let mut lost = self.unlisted.load(Relaxed);
        let mut entries = self.entries.lock();
        for entry in entries.iter_mut().filter(|it| it.left == Left::Loose) {
            entry.block(blocking);
            if entry.left == Left::Loose {
                lost = lost.saturating_add(1);
            }
        }
        lost
    }

    /// The devices, while nothing else runs.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a task was stopped while it changed the list.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn at_rest(&self) -> Result<AtRest<'_>> {
        self.entries.try_lock().map(AtRest).ok_or(EBUSY)
    }
}

/// Whether the host has no such device.
fn is_away(id: LogicalDeviceId) -> bool {
    calls::get_device_iommu(id).is_err_and(|failure| is_gone(id, failure))
}

/// The list, locked while nothing else runs.
#[cfg(CONFIG_HIBERNATION)]
pub(crate) struct AtRest<'a>(MutexGuard<'a, KVec<Entry>>);

#[cfg(CONFIG_HIBERNATION)]
impl AtRest<'_> {
    /// Detaches all devices, which keeps them from doing DMA, until one cannot be detached.
    ///
    /// # Errors
    ///
    /// That device, and what the hypervisor answered.
    pub(crate) fn detach(&mut self) -> Result<(), (LogicalDeviceId, HypercallError)> {
        for entry in self.0.iter_mut().filter(|it| it.left != Left::Detached) {
            match calls::detach(entry.id) {
                Ok(()) => entry.left = Left::Detached,
                Err(failure) if is_gone(entry.id, failure) => {}
                Err(failure) => return Err((entry.id, failure)),
            }
        }
        Ok(())
    }

    /// Blocks all devices again. One that cannot be blocked now is tried again when its bus works,
    /// or at shutdown.
    pub(crate) fn block(&mut self, blocking: Option<DomainId>) {
        self.0.iter_mut().for_each(|entry| entry.block(blocking));
    }
}
