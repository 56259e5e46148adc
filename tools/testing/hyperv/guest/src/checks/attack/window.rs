// SPDX-License-Identifier: GPL-2.0
//! Memory that is watched while a device attacks it.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use anyhow::{ensure, Result};

use crate::memory::{DmaBuffer, UserRange, PAGE};

/// The page that a byte of an arena is on.
pub fn page_of(offset: usize) -> Range<usize> {
    let start = offset / PAGE * PAGE;
    start..start + PAGE
}

/// A part of an arena. No reference ever points into it.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    base: NonNull<u8>,
    bytes: usize,
    arena: PhantomData<&'a ()>,
}

impl Window<'_> {
    /// Sets every byte.
    pub fn fill(self, value: u8) {
        for offset in 0..self.bytes {
            // SAFETY: within the window, whose arena is borrowed; volatile because a device reads it.
            unsafe { self.base.add(offset).write_volatile(value) };
        }
    }

    /// How many bytes fit.
    pub fn count(self, fits: impl Fn(u8) -> bool) -> usize {
        // SAFETY: as in `fill`; a device writes it.
        (0..self.bytes).filter(|&offset| fits(unsafe { self.base.add(offset).read_volatile() })).count()
    }

    /// The 64-bit word number `index`, of as many as fit.
    pub fn set_word(self, index: usize, value: u64) {
        assert!((index + 1) * 8 <= self.bytes, "word {index} of {} bytes", self.bytes);
        for (byte, value) in value.to_le_bytes().into_iter().enumerate() {
            // SAFETY: just checked to lie within the window; else as in `fill`.
            unsafe { self.base.add(index * 8 + byte).write_volatile(value) };
        }
    }

    /// Reads what [`Window::set_word`] sets.
    pub fn word(self, index: usize) -> u64 {
        assert!((index + 1) * 8 <= self.bytes, "word {index} of {} bytes", self.bytes);
        // SAFETY: just checked to lie within the window; else as in `count`.
        let bytes: [u8; 8] = std::array::from_fn(|byte| unsafe { self.base.add(index * 8 + byte).read_volatile() });
        u64::from_le_bytes(bytes)
    }
}

/// Memory in one physical piece, all of it the test's own: what a device reaches there hurts nobody.
pub trait Arena {
    /// Physical address of its first byte.
    fn physical(&self) -> u64;

    /// Length in bytes.
    fn bytes(&self) -> usize;

    /// Address in this process of the page at `offset`.
    fn pointer(&self, offset: usize) -> NonNull<u8>;

    /// The bytes from `range.start` up to, but not including, `range.end`. They must not cross a huge page's end.
    fn window(&self, range: Range<usize>) -> Window<'_> {
        assert!(range.start < range.end && range.end <= self.bytes(), "{range:x?} is outside the arena");
        let page = range.start / PAGE * PAGE;
        // SAFETY: just checked to lie within the arena.
        let base = unsafe { self.pointer(page).add(range.start - page) };
        Window { base, bytes: range.len(), arena: PhantomData }
    }

    /// Whole pages, for the kernel. They must not cross a huge page's end.
    fn pages(&self, offset: usize, bytes: usize) -> UserRange {
        assert!(bytes > 0 && offset % PAGE == 0 && offset + bytes <= self.bytes(), "{offset:x} is outside the arena");
        // SAFETY: just checked to lie within the arena, to which no reference points.
        unsafe { UserRange::new(self.pointer(offset), bytes) }
    }
}

/// Huge pages of this process that lie behind one another in physical memory, too.
pub struct HugeArena {
    pages: Vec<(u64, DmaBuffer)>,
    page_bytes: usize,
}

impl HugeArena {
    /// Takes huge pages of one size.
    ///
    /// # Errors
    /// When they are not neighbours.
    pub fn new(buffers: Vec<DmaBuffer>) -> Result<HugeArena> {
        let mut pages = Vec::new();
        for buffer in buffers {
            pages.push((buffer.physical(0)?.0, buffer));
        }
        pages.sort_by_key(|page| page.0);
        let page_bytes = pages.first().map_or(0, |page| page.1.pages() * PAGE);
        let neighbours = pages.windows(2).all(|pair| pair[0].0 + page_bytes as u64 == pair[1].0);
        let places: Vec<u64> = pages.iter().map(|page| page.0).collect();
        ensure!(neighbours && page_bytes > 0, "the huge pages lie apart: {places:x?}");
        Ok(HugeArena { pages, page_bytes })
    }
}

impl Arena for HugeArena {
    fn physical(&self) -> u64 {
        self.pages[0].0
    }

    fn bytes(&self) -> usize {
        self.pages.len() * self.page_bytes
    }

    fn pointer(&self, offset: usize) -> NonNull<u8> {
        let buffer = &self.pages[offset / self.page_bytes].1;
        let address = buffer.address(offset % self.page_bytes / PAGE) as *mut u8;
        NonNull::new(address).expect("pages are not at address 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pages(DmaBuffer);

    impl Arena for Pages {
        fn physical(&self) -> u64 {
            0
        }

        fn bytes(&self) -> usize {
            self.0.pages() * PAGE
        }

        fn pointer(&self, offset: usize) -> NonNull<u8> {
            NonNull::new(self.0.address(offset / PAGE) as *mut u8).unwrap()
        }
    }

    #[test]
    fn a_window_ends_where_it_should() {
        let arena = Pages(DmaBuffer::new(2).unwrap());
        arena.window(4095..4097).fill(7);
        let whole = arena.window(0..8192);
        assert_eq!(whole.count(|byte| byte == 7), 2);
        assert_eq!(arena.window(4095..4096).count(|byte| byte == 7), 1);
        whole.set_word(1, 0x1122_3344_5566_7788);
        assert_eq!((whole.word(1), arena.window(8..9).count(|byte| byte == 0x88)), (0x1122_3344_5566_7788, 1));
    }
}
