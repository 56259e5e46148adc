// SPDX-License-Identifier: GPL-2.0

//! What an unmap leaves to be flushed: `struct iommu_iotlb_gather`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    domain::DomainRef,
    Iova, //
};
use crate::{
    bindings,
    types::Opaque, //
};

/// Whether the IOMMU has forgotten what it was told to forget.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOutcome {
    /// Nothing stale is cached any more: memory may be reused.
    Flushed,
    /// Stale translations may be in use: page-table memory must not be reused.
    Stale,
}

/// A range of IOVAs whose cached translations must go.
#[repr(transparent)]
pub struct Gather(Opaque<bindings::iommu_iotlb_gather>);

impl Gather {
    /// # Safety
    ///
    /// `ptr` must be a valid gather that the caller has exclusive access to for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::iommu_iotlb_gather) -> &'a mut Gather {
        // SAFETY: By the caller's promise; the representation is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// The first byte of the range.
    #[inline]
    pub fn first(&self) -> Iova {
        // SAFETY: By the type, the gather is valid and not written by others.
        Iova::new(unsafe { (*self.0.get()).start as u64 })
    }

    /// The last byte of the range (inclusive: it may be the last of the address space).
    #[inline]
    pub fn last(&self) -> Iova {
        // SAFETY: As in `first`.
        Iova::new(unsafe { (*self.0.get()).end as u64 })
    }

    /// Adds what was unmapped, for an IOMMU that does not care how large pages are.
    ///
    /// Context: as the driver's `unmap`.
    pub fn add_range(&mut self, iova: Iova, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // SAFETY: By the type, the gather is valid, and ours.
        unsafe {
            bindings::iommu_iotlb_gather_add_range(self.0.get(), iova.as_u64() as usize, bytes)
        };
    }

    /// Adds pages that were unmapped, for an IOMMU that flushes pages of one size at a time. What
    /// was gathered so far is flushed first, if it has another size, or does not touch these pages.
    ///
    /// `domain` is the one that they were unmapped from.
    ///
    /// Context: as the driver's `unmap`.
    pub fn add_pages(
        &mut self,
        domain: DomainRef<'_>,
        iova: Iova,
        page_bytes: usize,
        pages: usize,
    ) {
        let Some(others) = pages.checked_sub(1) else {
            return;
        };
        // SAFETY: By their types, both are valid; the gather is ours.
        unsafe {
            bindings::iommu_iotlb_gather_add_page(
                domain.as_raw(),
                self.0.get(),
                iova.as_u64() as usize,
                page_bytes,
            )
        };
        let next = Iova::new(iova.as_u64().wrapping_add(page_bytes as u64));
        self.add_range(next, others.wrapping_mul(page_bytes));
    }

    /// Whether the flush is left to a queue, which flushes the whole domain before the memory is
    /// used for something else.
    pub fn is_queued(&self) -> bool {
        // SAFETY: By the type, the gather is valid and not written by others.
        unsafe { bindings::iommu_iotlb_gather_queued(self.0.get()) }
    }

    /// Whether there is exactly one page in the list of those that the unmap took out, and it is
    /// the list's still: one that was freed is in other lists.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(super) fn holds_one_page(&self) -> bool {
        // SAFETY: By the type, the gather is valid and not written by others.
        let head = unsafe { &raw mut (*self.0.get()).freelist.pages };
        // SAFETY: The list is initialised. What it leads to are page descriptors, which are always
        // there.
        unsafe { (*head).next != head && (*(*head).next).next == head }
    }

    /// Frees the page-table pages that the unmap took out of the table.
    ///
    /// Only after a flush that drops paging-structure caches over the range, too.
    #[inline]
    pub(super) fn free_pages(&mut self) {
        // SAFETY: The gather is valid and ours.
        let list = unsafe { &raw mut (*self.0.get()).freelist };
        // Most unmaps take no page out.
        // SAFETY: The list is initialised and ours; its pages are no longer reachable from the
        // table, nor, as the caller saw to, from the IOMMU.
        unsafe {
            if (*list).pages.next != &raw mut (*list).pages {
                bindings::iommu_put_pages_list(list);
            }
        }
    }
}
