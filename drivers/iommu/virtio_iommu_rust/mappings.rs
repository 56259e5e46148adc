// SPDX-License-Identifier: GPL-2.0

//! The driver's copy of what is mapped in a domain.

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

/// The last byte of a mapping, by which mappings are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last(Iova);

/// Written by hand, with two branches: the derived code takes twice as many instructions for each
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

/// A mapping. Its last byte is its key in the tree.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) first: Iova,
    pub(crate) phys: PhysAddr,
    pub(crate) flags: MapFlags,
}

/// A mapping that is in no domain yet.
pub(crate) struct NewMapping(RBTreeNode<Last, Mapping>);

impl NewMapping {
    /// Allocates a mapping with the last byte `last`.
    ///
    /// Context: may sleep if `flags` say so.
    #[inline]
    pub(crate) fn new(last: Iova, mapping: Mapping, flags: Flags) -> Result<NewMapping> {
        Ok(NewMapping(RBTreeNode::new(Last(last), mapping, flags)?))
    }
}

/// A mapping that a search has found, and its last byte.
#[derive(Clone, Copy)]
struct Found {
    last: Iova,
    mapping: Mapping,
}

impl Found {
    /// The physical address that a byte is mapped to; [`None`] if it is not in this mapping.
    #[inline]
    fn translate(&self, iova: Iova) -> Option<PhysAddr> {
        if iova > self.last {
            return None;
        }
        let offset = iova.as_u64().checked_sub(self.mapping.first.as_u64())?;
        self.mapping.phys.checked_add(offset)
    }
}

/// What is mapped in a domain, ordered by the last byte of each mapping.
pub(crate) struct Mappings {
    tree: RBTree<Last, Mapping>,
    /// The mapping that was found last; [`None`] after an unmap. VFIO looks up one page after the
    /// other, and a mapping may have many pages.
    found: Option<Found>,
}

impl Mappings {
    pub(crate) fn new() -> Mappings {
        Mappings {
            tree: RBTree::new(),
            found: None,
        }
    }

    /// Adds a mapping. Nothing else may be mapped in its range.
    #[inline]
    pub(crate) fn insert(&mut self, new: NewMapping) {
        self.tree.insert(new.0);
    }

    /// Removes mappings from `first` on, without a gap, up to and including the one that holds
    /// `last`. Returns the last byte that was removed. [`None`] if no mapping begins at `first`.
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
            // The cursor moves to the next mapping. If there is none, it moves to the one before,
            // which begins elsewhere, so the loop ends.
            cursor = at.remove_current().0;
            match end.as_u64().checked_add(1) {
                Some(address) if address <= last.as_u64() => next = Iova::new(address),
                _ => break,
            }
        }
        removed
    }

    /// The physical address that a byte is mapped to; [`None`] if it is not mapped.
    #[inline]
    pub(crate) fn find(&mut self, iova: Iova) -> Option<PhysAddr> {
        let known = self.found.and_then(|found| found.translate(iova));
        known.or_else(|| self.search(iova))
    }

    fn search(&mut self, iova: Iova) -> Option<PhysAddr> {
        let cursor = self.tree.cursor_lower_bound(&Last(iova))?;
        let (last, mapping) = cursor.current();
        let found = Found {
            last: last.0,
            mapping: *mapping,
        };
        self.found = Some(found);
        found.translate(iova)
    }

    /// All mappings, with the last byte of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Iova, Mapping)> + '_ {
        self.tree.iter().map(|(last, mapping)| (last.0, *mapping))
    }
}
