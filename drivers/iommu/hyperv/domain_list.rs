// SPDX-License-Identifier: GPL-2.0

//! The paging domains that exist, with what was done in each: for debugfs.
//!
//! `domain_list_off.rs` takes this file's place in a kernel without `CONFIG_IOMMU_DEBUGFS`.

use super::{
    aperture::Levels,
    domain_ids::DomainId,
    table_dump::Table, //
};
use kernel::{
    hyperv::status::HypercallError,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic,
            AtomicFlag, //
        },
        Arc,
        Mutex, //
    },
};

/// What was asked of the hypervisor for a domain.
pub(crate) struct Counters {
    /// Flushes of a list of blocks.
    pub(crate) lists: Atomic<u64>,
    /// The blocks in those lists.
    pub(crate) descriptors: Atomic<u64>,
    /// Flushes of the whole domain.
    pub(crate) wholes: Atomic<u64>,
    /// How many of both kinds failed.
    pub(crate) failures: Atomic<u64>,
}

/// A paging domain.
pub(crate) struct Record {
    pub(crate) table: Table,
    pub(crate) counters: Counters,
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
    records: Mutex<RBTree<u32, Arc<Record>>>,
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
    pub(crate) fn each<E>(
        &self,
        mut f: impl FnMut(u32, &Record) -> Result<(), E>,
    ) -> Result<(), E> {
        self.records
            .lock()
            .iter()
            .try_for_each(|(id, record)| f(*id, record))
    }

    /// Calls `f` for a domain, which does not go meanwhile, nor does the top of its table.
    ///
    /// Context: may sleep.
    pub(crate) fn with<R>(&self, id: u32, f: impl FnOnce(&Record) -> R) -> Option<R> {
        self.records.lock().get(&id).map(|record| f(record))
    }
}

/// A domain that is not in the list yet; it only lacks its number.
pub(crate) struct Unlisted {
    record: Arc<Record>,
    node: RBTreeNodeReservation<u32, Arc<Record>>,
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
            counters: Counters {
                lists: Atomic::new(0),
                descriptors: Atomic::new(0),
                wholes: Atomic::new(0),
                failures: Atomic::new(0),
            },
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
        let node = self.node.into_node(id.as_u32(), self.record.clone());
        let replaced = list.records.lock().insert(node);
        drop(replaced);
        Listed(self.record)
    }
}

/// A domain of the list.
pub(crate) struct Listed(Arc<Record>);

impl Listed {
    /// A list of blocks was flushed, or not.
    #[inline]
    pub(crate) fn count_list(&self, descriptors: usize, result: &Result<(), HypercallError>) {
        let counters = &self.0.counters;
        counters.lists.add(1, Relaxed);
        counters.descriptors.add(descriptors as u64, Relaxed);
        self.count_failure(result);
    }

    /// The whole domain was flushed, or not.
    #[inline]
    pub(crate) fn count_whole(&self, result: &Result<(), HypercallError>) {
        self.0.counters.wholes.add(1, Relaxed);
        self.count_failure(result);
    }

    #[inline]
    fn count_failure(&self, result: &Result<(), HypercallError>) {
        if result.is_err() {
            self.0.counters.failures.add(1, Relaxed);
        }
    }

    /// The hypervisor has forgotten the domain. Its table may go when this returns.
    ///
    /// Context: may sleep.
    pub(crate) fn leave(self, list: &DomainList, id: DomainId) {
        let mut records = list.records.lock();
        // The number may have found another domain since.
        let is_ours = records
            .get(&id.as_u32())
            .is_some_and(|record| Arc::ptr_eq(record, &self.0));
        let left = if is_ours {
            records.remove_node(&id.as_u32())
        } else {
            None
        };
        drop(records);
        drop(left);
    }

    /// The hypervisor may know the domain for ever; so does the list.
    pub(crate) fn retire(self) {
        self.0.retired.store(true, Relaxed);
    }
}
