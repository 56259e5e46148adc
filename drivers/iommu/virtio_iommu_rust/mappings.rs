// SPDX-License-Identifier: GPL-2.0

//! What is mapped in a domain.

use super::protocol::MapFlags;
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

/// A mapping, without its end.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) first: Iova,
    pub(crate) phys: PhysAddr,
    pub(crate) flags: MapFlags,
}

/// A mapping that is in no domain yet.
pub(crate) struct NewMapping(RBTreeNode<Iova, Mapping>);

impl NewMapping {
    /// Context: as `flags` say.
    #[inline]
    pub(crate) fn new(last: Iova, mapping: Mapping, flags: Flags) -> Result<NewMapping> {
        Ok(NewMapping(RBTreeNode::new(last, mapping, flags)?))
    }
}

/// What is mapped in a domain, by the last byte of each mapping.
pub(crate) struct Mappings(RBTree<Iova, Mapping>);

impl Mappings {
    pub(crate) fn new() -> Mappings {
        Mappings(RBTree::new())
    }

    /// Adds a mapping; nothing else may be mapped there.
    #[inline]
    pub(crate) fn insert(&mut self, new: NewMapping) {
        self.0.insert(new.0);
    }

    /// Removes what is mapped from `first` on without a gap, up to `last` and to the end of the mapping
    /// that holds it. Returns the last byte of that; [`None`] when no mapping begins at `first`.
    #[inline]
    pub(crate) fn remove(&mut self, first: Iova, last: Iova) -> Option<Iova> {
        let mut removed = None;
        let mut next = first;
        while next <= last {
            let Some(cursor) = self.0.cursor_lower_bound_mut(&next) else {
                break;
            };
            let (end, mapping) = cursor.current();
            if mapping.first != next {
                break;
            }
            let end = *end;
            let _ = cursor.remove_current();
            removed = Some(end);
            match end.as_u64().checked_add(1) {
                Some(address) => next = Iova::new(address),
                None => break,
            }
        }
        removed
    }

    /// Where a byte is mapped to.
    pub(crate) fn find(&self, iova: Iova) -> Option<PhysAddr> {
        let cursor = self.0.cursor_lower_bound(&iova)?;
        let (_, mapping) = cursor.current();
        let offset = iova.as_u64().checked_sub(mapping.first.as_u64())?;
        mapping.phys.checked_add(offset)
    }

    /// All mappings, with the last byte of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Iova, Mapping)> + '_ {
        self.0.iter().map(|(last, mapping)| (*last, *mapping))
    }
}
