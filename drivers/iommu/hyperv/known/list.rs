// SPDX-License-Identifier: GPL-2.0

//! The paging domains that exist, with the table of each: for hibernation, which has to make them
//! again, and for debugfs.
//!
//! `list_off.rs` takes this file's place in a kernel that has neither.

use super::counters::FlushCounters;
use crate::host::{
    aperture::Levels,
    domain_ids::DomainId,
    translation::Table, //
};
#[cfg(CONFIG_HIBERNATION)]
use kernel::sync::MutexGuard;
use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering::Relaxed,
            AtomicFlag, //
        },
        Arc,
        Mutex, //
    },
};

/// A paging domain.
pub(crate) struct Record {
    pub(crate) table: Table,
    pub(crate) counters: FlushCounters,
    /// The hypervisor could not be made to flush: no device is let in any more.
    pub(crate) stale: AtomicFlag,
    retired: AtomicFlag,
}

impl Record {
    /// Whether the kernel has done with the domain, and the hypervisor may not.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

/// The paging domains that the hypervisor knows.
#[pin_data]
pub(crate) struct DomainList {
    #[pin]
    records: Mutex<RBTree<DomainId, Arc<Record>>>,
}

impl DomainList {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            records <- new_mutex!(RBTree::new()),
        })
    }

    /// Calls `f` for each domain, by number, until it fails. None comes or goes meanwhile.
    ///
    /// Context: may sleep.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn each<E>(
        &self,
        mut f: impl FnMut(DomainId, &Record) -> Result<(), E>,
    ) -> Result<(), E> {
        self.records
            .lock()
            .iter()
            .try_for_each(|(id, record)| f(*id, record))
    }

    /// The list while nothing else runs.
    ///
    /// Context: any; one CPU, with interrupts off.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: somebody was stopped in the middle of a change.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn at_rest(&self) -> Result<AtRest<'_>> {
        self.records.try_lock().map(AtRest).ok_or(EBUSY)
    }

    /// A domain.
    ///
    /// Context: may sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn find(&self, id: DomainId) -> Option<Arc<Record>> {
        self.records.lock().get(&id).cloned()
    }
}

/// The list while nothing else runs.
#[cfg(CONFIG_HIBERNATION)]
pub(crate) struct AtRest<'a>(MutexGuard<'a, RBTree<DomainId, Arc<Record>>>);

#[cfg(CONFIG_HIBERNATION)]
impl AtRest<'_> {
    /// Calls `f` for each domain that is not retired, by number.
    pub(crate) fn each(&self, mut f: impl FnMut(DomainId, Table)) {
        for (id, record) in self.0.iter().filter(|(_, record)| !record.is_retired()) {
            f(*id, record.table);
        }
    }
}

/// A domain that is not in the list yet; it only lacks its number.
pub(crate) struct Unlisted {
    record: Arc<Record>,
    node: RBTreeNodeReservation<DomainId, Arc<Record>>,
}

impl Unlisted {
    /// A domain with a table whose top is at the physical address `root`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(root: u64, levels: Levels) -> Result<Unlisted> {
        let record = Record {
            table: Table { root, levels },
            counters: FlushCounters::new()?,
            stale: AtomicFlag::new(false),
            retired: AtomicFlag::new(false),
        };
        Ok(Unlisted {
            record: Arc::new(record, GFP_KERNEL)?,
            node: RBTreeNodeReservation::new(GFP_KERNEL)?,
        })
    }

    /// Enters the domain, in place of one whose number the hypervisor has just forgotten.
    ///
    /// Context: may sleep.
    pub(crate) fn enter(self, list: &DomainList, id: DomainId) -> Listed {
        let node = self.node.into_node(id, self.record.clone());
        let replaced = list.records.lock().insert(node);
        drop(replaced);
        Listed(self.record)
    }
}

/// A domain of the list.
pub(crate) struct Listed(Arc<Record>);

impl Listed {
    /// What is counted of the domain.
    #[inline(always)]
    pub(crate) fn counters(&self) -> &FlushCounters {
        &self.0.counters
    }

    /// Closes the domain.
    pub(crate) fn stale(&self) -> &AtomicFlag {
        &self.0.stale
    }

    /// The hypervisor has forgotten the domain. Its table may go when this returns.
    ///
    /// Context: may sleep.
    pub(crate) fn leave(&self, list: &DomainList, id: DomainId) {
        let mut records = list.records.lock();
        // The number may have found another domain since.
        let is_ours = records
            .get(&id)
            .is_some_and(|record| Arc::ptr_eq(record, &self.0));
        let left = if is_ours {
            records.remove_node(&id)
        } else {
            None
        };
        drop(records);
        drop(left);
    }

    /// The hypervisor may know the domain for ever; so does the list.
    pub(crate) fn retire(&self) {
        self.0.retired.store(true, Relaxed);
    }
}
