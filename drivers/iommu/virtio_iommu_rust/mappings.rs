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

/// What is mapped in a domain, by the last byte of each mapping.
pub(crate) struct Mappings(RBTree<Last, Mapping>);

impl Mappings {
    pub(crate) fn new() -> Mappings {
        Mappings(RBTree::new())
    }

    /// Adds a mapping; nothing else may be mapped there.
    #[inline]
    pub(crate) fn insert(&mut self, new: NewMapping) {
        self.0.insert(new.0);
    }

    /// Removes what is mapped from `first` on without a gap, up to `last` and to the end of the
    /// mapping that holds it. Returns the last byte of that; [`None`] when no mapping begins at
    /// `first`.
    #[inline]
    pub(crate) fn remove(&mut self, first: Iova, last: Iova) -> Option<Iova> {
        let mut cursor = self.0.cursor_lower_bound_mut(&Last(first));
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
    pub(crate) fn find(&self, iova: Iova) -> Option<PhysAddr> {
        let cursor = self.0.cursor_lower_bound(&Last(iova))?;
        let (_, mapping) = cursor.current();
        let offset = iova.as_u64().checked_sub(mapping.first.as_u64())?;
        mapping.phys.checked_add(offset)
    }

    /// All mappings, with the last byte of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Iova, Mapping)> + '_ {
        self.0.iter().map(|(last, mapping)| (last.0, *mapping))
    }
}
