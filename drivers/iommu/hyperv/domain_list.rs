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
    new_mutex,
    percpu::counters::Counters,
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

/// What was asked of the hypervisor for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Flushes of a list of blocks.
    pub(crate) lists: u64,
    /// The blocks in those lists.
    pub(crate) descriptors: u64,
    /// Flushes of the whole domain.
    pub(crate) wholes: u64,
    /// How many of both kinds failed.
    pub(crate) failures: u64,
}

/// Places in [`Record::counters`]. Lists of one block, which is most of them, are counted by one
/// instruction.
const SINGLES: usize = 0;
const LISTS: usize = 1;
const DESCRIPTORS: usize = 2;
const WHOLES: usize = 3;
const FAILURES: usize = 4;

/// A paging domain.
pub(crate) struct Record {
    pub(crate) table: Table,
    counters: Counters<5>,
    retired: AtomicFlag,
}

impl Record {
    /// What was asked of the hypervisor so far.
    pub(crate) fn counts(&self) -> Counts {
        let singles = self.counters.sum::<SINGLES>();
        Counts {
            lists: singles + self.counters.sum::<LISTS>(),
            descriptors: singles + self.counters.sum::<DESCRIPTORS>(),
            wholes: self.counters.sum::<WHOLES>(),
            failures: self.counters.sum::<FAILURES>(),
        }
    }

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
            counters: Counters::new()?,
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
    /// A list of blocks is flushed.
    #[inline(always)]
    pub(crate) fn count_list(&self, descriptors: usize) {
        if descriptors == 1 {
            self.0.counters.add::<SINGLES>(1);
        } else {
            self.0.counters.add::<LISTS>(1);
            self.0.counters.add::<DESCRIPTORS>(descriptors as u64);
        }
    }

    /// The whole domain is flushed.
    #[inline(always)]
    pub(crate) fn count_whole(&self) {
        self.0.counters.add::<WHOLES>(1);
    }

    /// One of these failed.
    #[cold]
    pub(crate) fn count_failure(&self) {
        self.0.counters.add::<FAILURES>(1);
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
