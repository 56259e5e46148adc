// SPDX-License-Identifier: GPL-2.0

//! The driver's record of what is mapped in a domain.
//!
//! The hypervisor keeps the page tables, and the kernel cannot read them. The record says where an
//! address leads, and what the hypervisor may still have mapped after a failure.

use super::{
    leaf::{
        Claim,
        Frames,
        Leaf,
        LeafOffsets, //
    },
    page_range::{
        PageRange,
        LARGE_PAGES, //
    },
    sample::TreeSample, //
};
use kernel::{
    alloc::Flags,
    new_spinlock_irq,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::SpinLockIrq, //
};

type Leaves = RBTree<u64, Leaf<KBox<Frames>>>;

/// What is mapped in a domain, in leaves of 2 MiB.
#[pin_data]
pub(crate) struct Mappings {
    #[pin]
    leaves: SpinLockIrq<Leaves>,
}

/// The number of the leaf that holds a page.
fn leaf_of(page: u64) -> u64 {
    page / LARGE_PAGES
}

/// Sums over a domain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sums {
    /// Pages that are mapped.
    pub(crate) present: u64,
    /// Pages that may or may not be mapped.
    pub(crate) stale: u64,
    /// Leaves.
    pub(crate) leaves: u64,
    /// Leaves with a table.
    pub(crate) tables: u64,
}

impl Mappings {
    /// The offsets of a leaf's parts.
    pub(crate) const LEAF_OFFSETS: LeafOffsets = Leaf::<KBox<Frames>>::OFFSETS;

    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            leaves <- new_spinlock_irq!(RBTree::new()),
        })
    }

    /// Keeps room for a mapping of a range onto frames from `frame` on, until the returned [`Room`]
    /// is dropped.
    ///
    /// Context: may sleep if `flags` say so.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn claim(&self, range: PageRange, frame: u64, flags: Flags) -> Result<Room<'_>> {
        let mut room = Room {
            mappings: self,
            range,
            claimed: 0,
        };
        for part in range.by_large_page() {
            self.claim_leaf(part.first(), frame + (part.first() - range.first()), flags)?;
            room.claimed += part.count();
        }
        Ok(room)
    }

    fn claim_leaf(&self, page: u64, frame: u64, flags: Flags) -> Result {
        let number = leaf_of(page);
        let (mut node, mut table) = (None, None);
        loop {
            let mut leaves = self.leaves.lock();
            let has_leaf = match leaves.get_mut(&number) {
                Some(leaf) => {
                    if leaf.claim(page, frame) == Claim::Granted {
                        return Ok(());
                    }
                    if let Some(table) = table.take() {
                        leaf.use_table(number, table);
                        continue;
                    }
                    true
                }
                None => {
                    if let Some(node) = node.take() {
                        let node: RBTreeNodeReservation<u64, Leaf<KBox<Frames>>> = node;
                        leaves.insert(node.into_node(number, Leaf::claimed(page, frame)));
                        return Ok(());
                    }
                    false
                }
            };
            drop(leaves);
            if has_leaf {
                table = Some(KBox::<Frames>::zeroed(flags)?);
            } else {
                node = Some(RBTreeNodeReservation::new(flags)?);
            }
        }
    }

    /// Calls `f` for each leaf of a range, and drops leaves that are unused afterwards.
    fn change(&self, range: PageRange, mut f: impl FnMut(&mut Leaf<KBox<Frames>>, PageRange)) {
        for part in range.by_large_page() {
            let number = leaf_of(part.first());
            let mut leaves = self.leaves.lock();
            let Some(leaf) = leaves.get_mut(&number) else {
                continue;
            };
            f(leaf, part);
            let unused = leaf.is_unused();
            // Freed after the lock is released.
            let removed = unused.then(|| leaves.remove_node(&number));
            drop(leaves);
            drop(removed);
        }
    }

    /// Notes that pages were unmapped.
    ///
    /// Context: any.
    pub(crate) fn forget(&self, range: PageRange) {
        self.change(range, |leaf, part| leaf.forget(part));
    }

    /// Notes that nobody knows whether pages are mapped.
    ///
    /// Context: any.
    pub(crate) fn doubt(&self, range: PageRange) {
        self.change(range, |leaf, part| leaf.doubt(part));
    }

    /// The frame number of a page; [`None`] if the page is not mapped.
    ///
    /// Context: any.
    pub(crate) fn find(&self, page: u64) -> Option<u64> {
        self.leaves.lock().get(&leaf_of(page))?.find(page)
    }

    /// The tree as a sample; [`None`] if it has no leaf.
    ///
    /// Context: any.
    pub(crate) fn sample(&self) -> Option<TreeSample> {
        TreeSample::of(&*self.leaves.lock())
    }

    /// Sums over the domain.
    ///
    /// Context: any.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for leaf in self.leaves.lock().values() {
            sums.present += leaf.present();
            sums.stale += leaf.stale();
            sums.leaves += 1;
            sums.tables += u64::from(leaf.has_table());
        }
        sums
    }
}

/// Room for a mapping that is being made.
pub(crate) struct Room<'a> {
    mappings: &'a Mappings,
    range: PageRange,
    /// For how many pages of the range, from the first one on, there is room.
    claimed: u64,
}

impl Room<'_> {
    /// Notes that pages of the range were mapped, onto frames from `frame` on.
    ///
    /// Context: any.
    pub(crate) fn note(&self, range: PageRange, frame: u64) {
        self.mappings.change(range, |leaf, part| {
            leaf.note(part, frame + (part.first() - range.first()));
        });
    }

    /// As [`Mappings::doubt`], for pages of the range.
    ///
    /// Context: any.
    pub(crate) fn doubt(&self, range: PageRange) {
        self.mappings.doubt(range);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.claimed > 0 {
            let claimed = self.range.first_pages(self.claimed);
            self.mappings.change(claimed, |leaf, _| leaf.release());
        }
    }
}
