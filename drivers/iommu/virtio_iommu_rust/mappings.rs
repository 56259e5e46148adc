// SPDX-License-Identifier: GPL-2.0

//! What is mapped in a domain.

use super::protocol::MapFlags;
use core::cmp::Ordering;
use kernel::{
    alloc::Flags,
    io::PhysAddr,
    iommu::Iova,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    }, //
};

/// The last byte of a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last(Iova);

/// Two branches. What `derive` makes of it is not, and costs twice as many instructions on each
/// level of a tree.
impl Ord for Last {
    #[inline]
    #[expect(clippy::comparison_chain)]
    fn cmp(&self, other: &Last) -> Ordering {
        if self.0 < other.0 {
            Ordering::Less
        } else if self.0 == other.0 {
            Ordering::Equal
        } else {
            Ordering::Greater
        }
    }
}

impl PartialOrd for Last {
    #[inline]
    fn partial_cmp(&self, other: &Last) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A mapping, without its end.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) first: Iova,
    pub(crate) phys: PhysAddr,
    pub(crate) flags: MapFlags,
}

/// A mapping that is in no domain yet.
pub(crate) struct NewMapping(RBTreeNode<Last, Mapping>);

impl NewMapping {
    /// Context: as `flags` say.
    #[inline]
    pub(crate) fn new(last: Iova, mapping: Mapping, flags: Flags) -> Result<NewMapping> {
        Ok(NewMapping(RBTreeNode::new(Last(last), mapping, flags)?))
    }
}

/// A mapping that a search has found, and its last byte.
#[derive(Clone, Copy)]
struct Found {
    first: Iova,
    last: Iova,
    phys: PhysAddr,
}

impl Found {
    /// Where a byte is mapped to; [`None`] when it is not in this mapping.
    #[inline]
    fn translate(&self, iova: Iova) -> Option<PhysAddr> {
        if iova > self.last {
            return None;
        }
        let offset = iova.as_u64().checked_sub(self.first.as_u64())?;
        self.phys.checked_add(offset)
    }
}

/// What is mapped in a domain, by the last byte of each mapping.
pub(crate) struct Mappings {
    tree: RBTree<Last, Mapping>,
    /// The mapping that was found last, as long as it is in the tree. VFIO asks for one page after
    /// the other, and a mapping can have many.
    found: Option<Found>,
}

impl Mappings {
    pub(crate) fn new() -> Mappings {
        Mappings {
            tree: RBTree::new(),
            found: None,
        }
    }

    /// Adds a mapping; nothing else may be mapped there.
    #[inline]
    pub(crate) fn insert(&mut self, new: NewMapping) {
        self.tree.insert(new.0);
    }

    /// Removes what is mapped from `first` on without a gap, up to `last` and to the end of the
    /// mapping that holds it. Returns the last byte of that; [`None`] when no mapping begins at
    /// `first`.
    #[inline]
    pub(crate) fn remove(&mut self, first: Iova, last: Iova) -> Option<Iova> {
        self.found = None;
        let mut cursor = self.tree.cursor_lower_bound_mut(&Last(first));
        let mut removed = None;
        let mut next = first;
        while let Some(at) = cursor {
            let (end, mapping) = at.current();
            if mapping.first != next {
                break;
            }
            let end = end.0;
            removed = Some(end);
            // The cursor goes on to the next mapping, or back to the one before if there is no
            // next.
            cursor = at.remove_current().0;
            match end.as_u64().checked_add(1) {
                Some(address) if address <= last.as_u64() => next = Iova::new(address),
                _ => break,
            }
        }
        removed
    }

    /// Where a byte is mapped to.
    #[inline]
    pub(crate) fn find(&mut self, iova: Iova) -> Option<PhysAddr> {
        let known = self.found.and_then(|found| found.translate(iova));
        known.or_else(|| self.search(iova))
    }

    fn search(&mut self, iova: Iova) -> Option<PhysAddr> {
        let cursor = self.tree.cursor_lower_bound(&Last(iova))?;
        let (last, mapping) = cursor.current();
        let found = Found {
            first: mapping.first,
            last: last.0,
            phys: mapping.phys,
        };
        self.found = Some(found);
        found.translate(iova)
    }

    /// All mappings, with the last byte of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Iova, Mapping)> + '_ {
        self.tree.iter().map(|(last, mapping)| (last.0, *mapping))
    }
}
