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

/// What a flush has achieved.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOutcome {
    /// The IOMMU caches nothing stale: memory may be reused.
    Flushed,
    /// The IOMMU may still use stale translations: the memory of page tables must not be reused.
    Stale,
}

/// A range of IOVAs whose cached translations must be flushed.
///
/// # Examples
///
/// ```
/// use kernel::iommu::gather::Gather;
///
/// /// How many pages of 4 KiB must be flushed.
/// fn pages(gather: &Gather) -> u64 {
///     let (first, last) = (gather.first().as_u64(), gather.last().as_u64());
///     (last >> 12) - (first >> 12) + 1
/// }
/// ```
#[repr(transparent)]
pub struct Gather(Opaque<bindings::iommu_iotlb_gather>);

impl Gather {
    /// # Safety
    ///
    /// `ptr` must be a valid gather that the caller has exclusive access to for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::iommu_iotlb_gather) -> &'a mut Gather {
        // SAFETY: The caller promises a valid gather and exclusive access for `'a`. The
        // representation is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// The first byte of the range.
    #[inline]
    pub fn first(&self) -> Iova {
        // SAFETY: The gather is valid, and not written while it is borrowed.
        Iova::new(unsafe { (*self.0.get()).start as u64 })
    }

    /// The last byte of the range. It is inclusive, as it may be the last byte of the address
    /// space.
    #[inline]
    pub fn last(&self) -> Iova {
        // SAFETY: As in `first`.
        Iova::new(unsafe { (*self.0.get()).end as u64 })
    }

    /// Adds a range that was unmapped, for an IOMMU that does not care how large the pages are.
    ///
    /// Context: as the driver's `unmap`.
    pub fn add_range(&mut self, iova: Iova, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // SAFETY: The gather is valid and borrowed exclusively.
        unsafe {
            bindings::iommu_iotlb_gather_add_range(self.0.get(), iova.as_u64() as usize, bytes)
        };
    }

    /// Adds pages that were unmapped from `domain`, for an IOMMU that flushes pages of one size at
    /// a time. What was gathered before is flushed first if it has another page size, or is not
    /// adjacent to these pages.
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
        // SAFETY: The domain and the gather are valid, and the gather is borrowed exclusively.
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

    /// Whether a queue flushes later. The queue flushes the whole domain before the memory is used
    /// for something else.
    pub fn is_queued(&self) -> bool {
        // SAFETY: The gather is valid, and not written while it is borrowed.
        unsafe { bindings::iommu_iotlb_gather_queued(self.0.get()) }
    }

    /// Whether the list of page-table pages to free holds exactly one page. If that page had been
    /// freed, it would be in another list.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(super) fn holds_one_page(&self) -> bool {
        // SAFETY: The gather is valid, and not written while it is borrowed.
        let head = unsafe { &raw mut (*self.0.get()).freelist.pages };
        // SAFETY: The list is initialised, and its entries are in page descriptors, which always
        // exist.
        unsafe { (*head).next != head && (*(*head).next).next == head }
    }

    /// Frees the page-table pages that the unmap took out of the table.
    ///
    /// The caller must have flushed the range, including cached entries that point at tables.
    #[inline]
    pub(super) fn free_pages(&mut self) {
        // SAFETY: The gather is valid and borrowed exclusively.
        let list = unsafe { &raw mut (*self.0.get()).freelist };
        // Most unmaps take no page out, so the call is avoided then.
        // SAFETY: The list is initialised and borrowed exclusively. The table no longer leads to
        // its pages. The IOMMU does not, either, because the caller has flushed the range.
        unsafe {
            if (*list).pages.next != &raw mut (*list).pages {
                bindings::iommu_put_pages_list(list);
            }
        }
    }
}
