// SPDX-License-Identifier: GPL-2.0

//! The list of paging domains and their tables. Hibernation needs it to make the domains again, and
//! debugfs shows it.
//!
//! `list_off.rs` takes this file's place in a kernel with neither.

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
    /// The hypervisor could not be made to flush the domain: no device may enter it.
    pub(crate) stale: AtomicFlag,
    retired: AtomicFlag,
}

impl Record {
    /// Whether the kernel no longer uses the domain, but the hypervisor may still know it.
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

    /// Calls `f` for each domain, in the order of their numbers, until `f` fails. The list is
    /// locked meanwhile.
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

    /// Locks the list while nothing else runs.
    ///
    /// Context: any; one CPU, with interrupts off.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a task was stopped while it held the list's lock.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn at_rest(&self) -> Result<AtRest<'_>> {
        self.records.try_lock().map(AtRest).ok_or(EBUSY)
    }

    /// Finds the domain `id`.
    ///
    /// Context: may sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn find(&self, id: DomainId) -> Option<Arc<Record>> {
        self.records.lock().get(&id).cloned()
    }
}

/// The list, locked while nothing else runs.
#[cfg(CONFIG_HIBERNATION)]
pub(crate) struct AtRest<'a>(MutexGuard<'a, RBTree<DomainId, Arc<Record>>>);

#[cfg(CONFIG_HIBERNATION)]
impl AtRest<'_> {
    /// Calls `f` for each domain that is not retired, in the order of their numbers.
    pub(crate) fn each(&self, mut f: impl FnMut(DomainId, Table)) {
        for (id, record) in self.0.iter().filter(|(_, record)| !record.is_retired()) {
            f(*id, record.table);
        }
    }
}

/// A domain that is not in the list yet, because it has no number. All memory is allocated.
pub(crate) struct Unlisted {
    record: Arc<Record>,
    node: RBTreeNodeReservation<DomainId, Arc<Record>>,
}

impl Unlisted {
    /// A domain with a table of `levels` whose top is at the guest physical address `root`.
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

    /// Enters the domain in the list. It replaces a former domain of its number, if the hypervisor
    /// has just forgotten that one.
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
    /// The counters of the domain's flushes.
    #[inline(always)]
    pub(crate) fn counters(&self) -> &FlushCounters {
        &self.0.counters
    }

    /// The flag that closes the domain.
    pub(crate) fn stale(&self) -> &AtomicFlag {
        &self.0.stale
    }

    /// Takes the domain out of the list: the hypervisor has forgotten it. Its table may be freed
    /// when this returns.
    ///
    /// Context: may sleep.
    pub(crate) fn leave(&self, list: &DomainList, id: DomainId) {
        let mut records = list.records.lock();
        // A new domain may have got the number meanwhile.
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

    /// Notes that the hypervisor may know the domain for ever. The domain stays in the list.
    pub(crate) fn retire(&self) {
        self.0.retired.store(true, Relaxed);
    }
}
