// SPDX-License-Identifier: GPL-2.0

//! Ranges of pages, and how many of them one hypercall unmaps.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// log2 of the size of a page of the interface, in bytes. The kernel's own pages may differ.
pub(crate) const PAGE_SHIFT: u32 = 12;

/// How many pages of the interface make a large page.
pub(crate) const LARGE_PAGES: u64 = 512;

/// A range of pages of 4 KiB in a domain. It is never empty, and never wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRange {
    first: u64,
    count: u64,
}

impl PageRange {
    /// The pages of `bytes` bytes from `address` on. [`None`] if that is not a whole number of
    /// pages, is empty, or wraps.
    pub(crate) fn of_bytes(address: u64, bytes: u64) -> Option<PageRange> {
        let within = (1 << PAGE_SHIFT) - 1;
        if bytes == 0 || (address | bytes) & within != 0 {
            return None;
        }
        address.checked_add(bytes - 1)?;
        Some(PageRange {
            first: address >> PAGE_SHIFT,
            count: bytes >> PAGE_SHIFT,
        })
    }

    /// The number of the first page: its address divided by 4096.
    pub(crate) fn first(self) -> u64 {
        self.first
    }

    /// How many pages there are, at least one.
    pub(crate) fn count(self) -> u64 {
        self.count
    }

    /// The range without its first `done` pages; [`None`] if nothing is left.
    pub(crate) fn without_first(self, done: u64) -> Option<PageRange> {
        let count = self.count.checked_sub(done).filter(|count| *count > 0)?;
        Some(PageRange {
            first: self.first + done,
            count,
        })
    }

    /// The first `most` pages of the range, or the whole range if it is shorter. `most` must not be
    /// 0.
    pub(crate) fn first_pages(self, most: u64) -> PageRange {
        PageRange {
            first: self.first,
            count: if self.count < most { self.count } else { most },
        }
    }

    /// Splits the range at the boundaries of large pages.
    pub(crate) fn by_large_page(self) -> impl Iterator<Item = PageRange> {
        let mut rest = Some(self);
        core::iter::from_fn(move || {
            let range = rest?;
            let part = range.first_pages(LARGE_PAGES - range.first % LARGE_PAGES);
            rest = range.without_first(part.count);
            Some(part)
        })
    }
}

/// The size of the pages that a call maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// 4 KiB.
    Small,
    /// 2 MiB. Larger pages are mapped as many of these, as the interface has no others.
    Large,
}

impl Unit {
    /// The unit for pages of `page_bytes` bytes. The IOMMU core aligns them in the domain and in
    /// memory.
    pub(crate) fn for_pages(page_bytes: usize) -> Unit {
        if page_bytes as u64 >= LARGE_PAGES << PAGE_SHIFT {
            Unit::Large
        } else {
            Unit::Small
        }
    }

    /// How many pages of 4 KiB the unit is.
    pub(crate) fn pages(self) -> u64 {
        match self {
            Unit::Small => 1,
            Unit::Large => LARGE_PAGES,
        }
    }
}

/// How many pages of `range` one call unmaps, if a call can unmap `most` pages.
///
/// Where large pages are unmapped, a call must end at the boundary of one. If it ended inside, the
/// hypervisor would have to split a large page, and might lack memory for that.
pub(crate) fn unmapped_by_one_call(range: PageRange, unit: Unit, most: u64) -> u64 {
    if range.count <= most {
        return range.count;
    }
    let past_boundary = (range.first + most) % unit.pages();
    match most - past_boundary {
        0 => most,
        aligned => aligned,
    }
}
