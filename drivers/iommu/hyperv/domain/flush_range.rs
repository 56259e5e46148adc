// SPDX-License-Identifier: GPL-2.0

//! From a range of IOVAs to the descriptors that flush it.
//!
//! A descriptor covers 2^s 4-KiB pages at an address that is a multiple of that many pages. One
//! descriptor for a whole range may cover far more than the range: two pages that lie on either
//! side of a 4 GiB border need one of 4 GiB. An exact cover may need a hundred.
//!
//! The rule here bounds both: the range is widened to multiples of a unit of at most 1/32 of its
//! length, and the widened range is covered exactly. That takes at most [`MAX_DESCRIPTORS`]
//! descriptors, which one hypercall holds, and flushes at most 1/16 more than asked. A range of up
//! to 63 pages, and any range whose ends are multiples of the unit, is covered exactly; an aligned
//! power of two takes one descriptor.
//!
//! Where devices have TLBs of their own, each descriptor may cost the host a message to the device
//! and an answer. There a range takes two descriptors at most, and up to twice its pages are
//! flushed ([`Cover::of_few`]).
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Most descriptors that a range can need: the widened range is at most 65 units long.
pub(crate) const MAX_DESCRIPTORS: usize = 12;

/// log2 of how many units a range has at least.
const UNITS_LG2: u32 = 5;

/// log2 of the hypervisor's page size, in bytes.
const PAGE_SHIFT: u32 = 12;

/// Width of a page number, in bits.
const PAGE_NUMBER_BITS: u32 = 64 - PAGE_SHIFT;

/// The bits of a descriptor that hold s; the bits above hold the page number.
const SHIFT_MASK: u64 = (1 << PAGE_SHIFT) - 1;

/// A descriptor as the hypervisor takes it: page number in bits 63:12, s in bits 5:0.
pub(crate) type Descriptor = u64;

/// The one descriptor that covers the bytes `first..=last` exactly, when they are whole pages and a
/// block. Most ranges are.
#[inline(always)]
pub(crate) fn block(first: u64, last: u64) -> Option<Descriptor> {
    // Within a block, only low bits of the address differ, and these take all values.
    let differ = first ^ last | SHIFT_MASK;
    let is_block = differ & differ.wrapping_add(1) == 0 && first & differ == 0;
    // Half of a block's size: the whole size can be 2^64, which no register holds.
    let half = (differ >> 1) + 1;
    // 64 bits wide throughout: with 32, the compiler's code for the callers was worse.
    let log2 = u64::from(half.trailing_zeros()) + 1;
    is_block.then(|| first.wrapping_add(log2.wrapping_sub(PAGE_SHIFT.into())))
}

/// The first and the last byte that a list of blocks in ascending order covers.
pub(crate) fn bounds(blocks: &[Descriptor]) -> (u64, u64) {
    let first = blocks.first().map_or(0, |block| block & !SHIFT_MASK);
    let last = blocks.last().map_or(u64::MAX, |block| {
        // A block is at least a page and at most the whole address space.
        let bits = PAGE_SHIFT + (block & SHIFT_MASK) as u32;
        block & !SHIFT_MASK | !u64::MAX.checked_shl(bits).unwrap_or(0)
    });
    (first, last)
}

/// The descriptors that cover a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cover {
    descriptors: [Descriptor; MAX_DESCRIPTORS],
    len: usize,
}

impl Cover {
    /// Covers the bytes `first..=last`, rounded out to whole pages. If `last` is below `first`,
    /// which is no range, everything is covered.
    #[inline(never)]
    pub(crate) fn new(first: u64, last: u64) -> Cover {
        let mut cover = Cover {
            descriptors: [0; MAX_DESCRIPTORS],
            len: 0,
        };
        // All page numbers are below 2^52, so that nothing here can overflow.
        let (first, last) = (first >> PAGE_SHIFT, last >> PAGE_SHIFT);
        if last < first {
            cover.push(0, PAGE_NUMBER_BITS);
            return cover;
        }

        let count = (last - first).wrapping_add(1);
        let unit = 1u64 << log2(count).saturating_sub(UNITS_LG2);
        let mut page = first & !(unit - 1);
        let end = (last | (unit - 1)).wrapping_add(1);
        while page < end {
            let shift = page.trailing_zeros().min(log2(end - page));
            cover.push(page, shift);
            page = page.wrapping_add(1 << shift);
        }
        cover
    }

    /// Covers the same bytes in at most two blocks, which together are less than twice as long as
    /// the range.
    ///
    /// The blocks meet at the page of the range whose number has the most trailing zeros. Each is
    /// as long as its side of the range, rounded up to a power of two.
    #[inline(never)]
    pub(crate) fn of_few(first: u64, last: u64) -> Cover {
        let (first_page, last_page) = (first >> PAGE_SHIFT, last >> PAGE_SHIFT);
        let differ = first_page ^ last_page;
        if last_page <= first_page {
            return Cover::new(first, last);
        }
        // All page numbers are below 2^52, and `first_page` < `meeting` <= `last_page`.
        let highest = 1u64.wrapping_shl(log2(differ));
        let meeting = last_page & !highest.wrapping_sub(1);
        let left = log2_up(meeting.wrapping_sub(first_page));
        let right = log2_up(last_page.wrapping_sub(meeting).wrapping_add(1));
        let mut cover = Cover {
            descriptors: [0; MAX_DESCRIPTORS],
            len: 0,
        };
        let start = meeting.wrapping_sub(1u64.wrapping_shl(left));
        if left == right && start & 1u64.wrapping_shl(left) == 0 {
            cover.push(start, left.wrapping_add(1));
        } else {
            cover.push(start, left);
            cover.push(meeting, right);
        }
        cover
    }

    /// Adds a block. There is always room for it. If there were none, this would cover the whole
    /// address space instead.
    #[inline]
    fn push(&mut self, page: u64, shift: u32) {
        let descriptor = page << PAGE_SHIFT | u64::from(shift);
        match self.descriptors.get_mut(self.len) {
            Some(slot) => {
                *slot = descriptor;
                self.len = self.len.wrapping_add(1);
            }
            None => {
                self.descriptors = [0; MAX_DESCRIPTORS];
                self.descriptors[0] = u64::from(PAGE_NUMBER_BITS);
                self.len = 1;
            }
        }
    }

    /// The descriptors; at least one.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[Descriptor] {
        self.descriptors
            .get(..self.len)
            .unwrap_or(&self.descriptors)
    }
}

/// log2, rounded up, of a number that is not 0.
#[inline]
fn log2_up(number: u64) -> u32 {
    log2(number).wrapping_add(u32::from(!number.is_power_of_two()))
}

/// log2, rounded down, of a number that is not 0.
#[inline]
fn log2(number: u64) -> u32 {
    number.checked_ilog2().unwrap_or(0)
}
