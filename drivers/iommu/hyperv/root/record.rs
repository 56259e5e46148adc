// SPDX-License-Identifier: GPL-2.0

//! A domain that was created.

use super::{
    domain_name::DomainName,
    mappings::Mappings, //
};
use core::mem::offset_of;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic,
            AtomicFlag, //
        },
        Arc, //
    },
};

/// Calls that were made for a domain.
pub(crate) struct Counts {
    /// Calls that map.
    pub(crate) maps: Atomic<u64>,
    /// Calls that unmap.
    pub(crate) unmaps: Atomic<u64>,
    /// Deposits that either of them asked for.
    pub(crate) deposits: Atomic<u64>,
    /// Calls of either kind that failed for good.
    pub(crate) failures: Atomic<u64>,
}

/// Where the parts of a record are, in bytes from its beginning, for a reader of a crash dump.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct RecordOffsets {
    /// `u32`.
    name: u64,
    /// Each of these: `u64`.
    maps: u64,
    unmaps: u64,
    deposits: u64,
    failures: u64,
    /// Each of these: a byte, 0 or 1.
    closed: u64,
    retired: u64,
}

/// A domain that was created, and not deleted with success.
#[pin_data]
pub(crate) struct Record {
    name: DomainName,
    #[pin]
    mappings: Mappings,
    counts: Counts,
    /// The hypervisor may let devices in the domain reach what they should not: none is let in.
    closed: AtomicFlag,
    /// The kernel has done with the domain, and the hypervisor may not.
    retired: AtomicFlag,
    /// The hypervisor has deleted the domain, and the kernel may not have done with it.
    deleted: AtomicFlag,
}

impl Record {
    /// Where its parts are.
    pub(crate) const OFFSETS: RecordOffsets = RecordOffsets {
        name: offset_of!(Record, name) as u64,
        maps: offset_of!(Record, counts.maps) as u64,
        unmaps: offset_of!(Record, counts.unmaps) as u64,
        deposits: offset_of!(Record, counts.deposits) as u64,
        failures: offset_of!(Record, counts.failures) as u64,
        closed: offset_of!(Record, closed) as u64,
        retired: offset_of!(Record, retired) as u64,
    };

    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(name: DomainName) -> Result<Arc<Record>> {
        Arc::pin_init(
            pin_init!(Record {
                name,
                mappings <- Mappings::new(),
                counts: Counts {
                    maps: Atomic::new(0),
                    unmaps: Atomic::new(0),
                    deposits: Atomic::new(0),
                    failures: Atomic::new(0),
                },
                closed: AtomicFlag::new(false),
                retired: AtomicFlag::new(false),
                deleted: AtomicFlag::new(false),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> DomainName {
        self.name
    }

    pub(crate) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether no device is let in.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Lets no device in any more. Whether devices were let in so far.
    pub(crate) fn close(&self) -> bool {
        !self.closed.xchg(true, Full)
    }

    /// The kernel has done with the domain.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// Whether the kernel has done with the domain.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// The hypervisor has deleted the domain, for the next kernel.
    pub(crate) fn note_deleted(&self) {
        self.deleted.store(true, Relaxed);
    }

    /// Whether the hypervisor has deleted the domain.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Relaxed)
    }
}
