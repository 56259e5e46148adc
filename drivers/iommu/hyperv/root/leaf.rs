// SPDX-License-Identifier: GPL-2.0

//! The record of what is mapped in 2 MiB of a domain.
//!
//! An unmap of any page must not need memory, as it must not fail. So a leaf has a bit for each
//! page of 4 KiB, which says whether the page is mapped. A leaf knows the memory behind its pages
//! in one of two ways. While all pages have the same distance to their memory, it keeps that one
//! distance; this suits large and contiguous mappings. Otherwise it has a table, which takes a page
//! of memory. That page is allocated before the mapping is made.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::page_range::{
    PageRange,
    LARGE_PAGES, //
};
use core::{
    mem::offset_of,
    ops::DerefMut, //
};

/// How many pages a leaf has.
const PAGES: usize = LARGE_PAGES as usize;

/// The frame number of each page of a leaf.
pub(crate) type Frames = [u64; PAGES];

/// One bit for each page of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
struct Bits([u64; PAGES / 64]);

impl Bits {
    const NONE: Bits = Bits([0; PAGES / 64]);

    fn has(&self, place: usize) -> bool {
        let word = self.0.get(place / 64).copied().unwrap_or(0);
        word >> (place % 64) & 1 != 0
    }

    /// Calls `f` for each word that has bits of these pages, with a mask of the bits.
    fn each(&mut self, first: usize, count: usize, mut f: impl FnMut(&mut u64, u64)) {
        let end = first + count;
        for (index, word) in self.0.iter_mut().enumerate() {
            let (begin, next) = (index * 64, index * 64 + 64);
            let (from, to) = (first.max(begin), end.min(next));
            if from < to {
                let ones = u64::MAX >> (64 - (to - from));
                f(word, ones << (from - begin));
            }
        }
    }

    fn set(&mut self, first: usize, count: usize) {
        self.each(first, count, |word, bits| *word |= bits);
    }

    fn clear(&mut self, first: usize, count: usize) {
        self.each(first, count, |word, bits| *word &= !bits);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Where the memory of pages is. Readers of crash dumps depend on this layout.
#[repr(u64)]
enum Memory<T> {
    /// A page's frame number is its page number plus this, wrapping.
    Distance(u64) = 0,
    /// The frame number of each page, by its place in the leaf.
    Table(T) = 1,
}

/// The offsets of a leaf's parts, in bytes, for readers of crash dumps.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct LeafOffsets {
    /// `u64`: 0, with the distance behind it; or 1, with the table's address behind it.
    pub(crate) memory: u64,
    /// A bit for each mapped page, in words of 64 bits.
    pub(crate) present: u64,
    /// A bit for each page in doubt, in words of 64 bits.
    pub(crate) stale: u64,
}

/// Whether a leaf has room for a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has. The room is kept until [`Leaf::release`].
    Granted,
    /// It needs a table first.
    NeedsTable,
}

/// What is mapped in 2 MiB of a domain.
pub(crate) struct Leaf<T> {
    memory: Memory<T>,
    present: Bits,
    /// Pages that the hypervisor could not be made to unmap, or may have mapped without saying so.
    stale: Bits,
    /// How many mappings are being made in the leaf.
    claims: u32,
}

/// The index of a page in its leaf.
fn place(page: u64) -> usize {
    (page % LARGE_PAGES) as usize
}

/// The distance from a page's number to the number of its frame.
fn distance(page: u64, frame: u64) -> u64 {
    frame.wrapping_sub(page)
}

impl<T> Leaf<T> {
    /// The offsets of its parts.
    pub(crate) const OFFSETS: LeafOffsets = LeafOffsets {
        memory: offset_of!(Self, memory) as u64,
        present: offset_of!(Self, present) as u64,
        stale: offset_of!(Self, stale) as u64,
    };
}

impl<T: DerefMut<Target = Frames>> Leaf<T> {
    /// An empty leaf that keeps room for a mapping of `page` onto `frame`, as [`Self::claim`]
    /// would.
    pub(crate) fn claimed(page: u64, frame: u64) -> Leaf<T> {
        Leaf {
            memory: Memory::Distance(distance(page, frame)),
            present: Bits::NONE,
            stale: Bits::NONE,
            claims: 1,
        }
    }

    /// Keeps room for a mapping of pages from `page` on onto frames from `frame` on.
    pub(crate) fn claim(&mut self, page: u64, frame: u64) -> Claim {
        let wanted = distance(page, frame);
        match &mut self.memory {
            Memory::Table(_) => {}
            Memory::Distance(own) if *own == wanted => {}
            Memory::Distance(own) if self.claims == 0 && self.present.is_empty() => *own = wanted,
            Memory::Distance(_) => return Claim::NeedsTable,
        }
        self.claims += 1;
        Claim::Granted
    }

    /// Gives the leaf a table, which has room for any mapping. `leaf` is the number of the leaf's
    /// first page, divided by [`LARGE_PAGES`].
    pub(crate) fn use_table(&mut self, leaf: u64, mut table: T) {
        let Memory::Distance(own) = self.memory else {
            return;
        };
        for (page, frame) in (leaf * LARGE_PAGES..).zip(table.iter_mut()) {
            *frame = page.wrapping_add(own);
        }
        self.memory = Memory::Table(table);
    }

    /// Gives up the room that one [`Self::claim`] keeps.
    pub(crate) fn release(&mut self) {
        self.claims = self.claims.saturating_sub(1);
    }

    /// Notes that pages were mapped, for which room was kept. All of them are in this leaf.
    pub(crate) fn note(&mut self, range: PageRange, frame: u64) {
        let (first, count) = (place(range.first()), range.count() as usize);
        if let Memory::Table(table) = &mut self.memory {
            for (slot, frame) in table.iter_mut().skip(first).take(count).zip(frame..) {
                *slot = frame;
            }
        }
        self.present.set(first, count);
    }

    /// Notes that pages were unmapped.
    pub(crate) fn forget(&mut self, range: PageRange) {
        let (first, count) = (place(range.first()), range.count() as usize);
        self.present.clear(first, count);
        self.stale.clear(first, count);
    }

    /// Notes that nobody knows whether pages are mapped. They count as mapped.
    pub(crate) fn doubt(&mut self, range: PageRange) {
        let (first, count) = (place(range.first()), range.count() as usize);
        self.stale.set(first, count);
    }

    /// The frame number of a page; [`None`] if the page is not mapped.
    pub(crate) fn find(&self, page: u64) -> Option<u64> {
        let place = place(page);
        if !self.present.has(place) {
            return None;
        }
        match &self.memory {
            Memory::Distance(own) => Some(page.wrapping_add(*own)),
            Memory::Table(table) => table.get(place).copied(),
        }
    }

    /// Whether nothing is mapped, in doubt, or being mapped.
    pub(crate) fn is_unused(&self) -> bool {
        self.claims == 0 && self.present.is_empty() && self.stale.is_empty()
    }

    /// How many pages are mapped.
    pub(crate) fn present(&self) -> u64 {
        self.present.count()
    }

    /// How many pages are in doubt.
    pub(crate) fn stale(&self) -> u64 {
        self.stale.count()
    }

    /// Whether the leaf has a table.
    pub(crate) fn has_table(&self) -> bool {
        matches!(self.memory, Memory::Table(_))
    }
}
