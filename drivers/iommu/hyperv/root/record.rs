// SPDX-License-Identifier: GPL-2.0

//! The driver's record of a domain that was created.

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

/// How many calls were made for a domain.
pub(crate) struct Counts {
    /// Calls that map.
    pub(crate) maps: Atomic<u64>,
    /// Calls that unmap.
    pub(crate) unmaps: Atomic<u64>,
    /// Deposits that these calls asked for.
    pub(crate) deposits: Atomic<u64>,
    /// Calls of either kind that have failed for good.
    pub(crate) failures: Atomic<u64>,
}

/// The offsets of a record's parts, in bytes, for readers of crash dumps.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct RecordOffsets {
    /// `u32`.
    name: u64,
    /// `u64` each.
    maps: u64,
    unmaps: u64,
    deposits: u64,
    failures: u64,
    /// A byte each, 0 or 1.
    closed: u64,
    retired: u64,
}

/// A domain that was created, and was not deleted with success; or [`Record::stand_in`].
#[pin_data]
pub(crate) struct Record {
    name: DomainName,
    #[pin]
    mappings: Mappings,
    counts: Counts,
    /// The hypervisor may let devices in the domain reach what they should not. None may enter.
    closed: AtomicFlag,
    /// The domain is closed, and no device is in it.
    emptied: AtomicFlag,
    /// The kernel no longer uses the domain, but the hypervisor may still know it.
    retired: AtomicFlag,
    /// The hypervisor has deleted the domain, but the kernel may still use it.
    deleted: AtomicFlag,
}

impl Record {
    /// The offsets of its parts.
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
                emptied: AtomicFlag::new(false),
                retired: AtomicFlag::new(false),
                deleted: AtomicFlag::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// The record of a domain that the hypervisor has not made. Its devices are in the blocking
    /// domain, and nothing can be mapped.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn stand_in() -> Result<Arc<Record>> {
        let record = Record::new(DomainName::BLOCKING)?;
        record.close();
        record.note_emptied();
        record.note_deleted();
        Ok(record)
    }

    /// Whether the hypervisor has not made the domain.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.name == DomainName::BLOCKING
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

    /// Whether no device may enter.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Lets no device in after this. Returns whether devices could enter before.
    pub(crate) fn close(&self) -> bool {
        !self.closed.xchg(true, Full)
    }

    /// Whether the domain is closed, and no device is in it.
    pub(crate) fn is_emptied(&self) -> bool {
        self.emptied.load(Relaxed)
    }

    /// Notes that no device is in the domain, which must be closed.
    pub(crate) fn note_emptied(&self) {
        self.emptied.store(true, Relaxed);
    }

    /// Notes that the kernel no longer uses the domain.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// Whether the kernel no longer uses the domain.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Notes that the hypervisor has deleted the domain, for the next kernel.
    pub(crate) fn note_deleted(&self) {
        self.deleted.store(true, Relaxed);
    }

    /// Whether the hypervisor has deleted the domain.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Relaxed)
    }
}
