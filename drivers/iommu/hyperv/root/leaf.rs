// SPDX-License-Identifier: GPL-2.0

//! What is mapped in 2 MiB of a domain.
//!
//! Any page can be taken out at any time without memory: an unmap must not fail for that. So a leaf
//! knows of each page of 4 KiB whether it is there. Memory behind it is told in one of two ways: by
//! one distance, as long as everything that is mapped here lies in memory as it does in the domain,
//! and by a table otherwise. The former is what large and contiguous mappings need; the latter
//! costs a page, which is allocated before the mapping is made.
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

/// Pages of a leaf.
const PAGES: usize = LARGE_PAGES as usize;

/// The frames of a leaf's pages, by their places.
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

    /// Calls `f` for each word that has bits of the pages, with these bits.
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

/// Where pages are in memory. Readers of crash dumps go by this layout.
#[repr(u64)]
enum Memory<T> {
    /// A frame is a page's number and this, wrapping.
    Distance(u64) = 0,
    /// By each page's place in the leaf.
    Table(T) = 1,
}

/// Where the parts of a leaf are, in bytes from its beginning, for a reader of a crash dump.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct LeafOffsets {
    /// `u64`: 0, and the distance behind it; or 1, and the table's address behind it.
    pub(crate) memory: u64,
    /// A bit for each page, in words of 64 bits.
    pub(crate) present: u64,
    /// The same.
    pub(crate) stale: u64,
}

/// What a leaf needs before more can be mapped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: room is kept until [`Leaf::release`].
    Granted,
    /// A table.
    NeedsTable,
}

/// What is mapped in 2 MiB of a domain.
pub(crate) struct Leaf<T> {
    memory: Memory<T>,
    present: Bits,
    /// Those that the hypervisor could not be made to unmap, or may have mapped without saying so.
    stale: Bits,
    /// Mappings under way.
    claims: u32,
}

/// A page's place in its leaf.
fn place(page: u64) -> usize {
    (page % LARGE_PAGES) as usize
}

/// How far memory is from the pages that are mapped onto it.
fn distance(page: u64, frame: u64) -> u64 {
    frame.wrapping_sub(page)
}

impl<T> Leaf<T> {
    /// Where its parts are.
    pub(crate) const OFFSETS: LeafOffsets = LeafOffsets {
        memory: offset_of!(Self, memory) as u64,
        present: offset_of!(Self, present) as u64,
        stale: offset_of!(Self, stale) as u64,
    };
}

impl<T: DerefMut<Target = Frames>> Leaf<T> {
    /// Nothing is mapped. Room is kept as by [`Self::claim`] for a mapping of `page` onto `frame`.
    pub(crate) fn claimed(page: u64, frame: u64) -> Leaf<T> {
        Leaf {
            memory: Memory::Distance(distance(page, frame)),
            present: Bits::NONE,
            stale: Bits::NONE,
            claims: 1,
        }
    }

    /// Keeps room for a mapping of pages from `page` on onto memory from `frame` on.
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

    /// Makes it a table, in which any mapping has room. `leaf` is the number of the first page
    /// divided by [`LARGE_PAGES`].
    pub(crate) fn use_table(&mut self, leaf: u64, mut table: T) {
        let Memory::Distance(own) = self.memory else {
            return;
        };
        for (page, frame) in (leaf * LARGE_PAGES..).zip(table.iter_mut()) {
            *frame = page.wrapping_add(own);
        }
        self.memory = Memory::Table(table);
    }

    /// Keeps room no longer.
    pub(crate) fn release(&mut self) {
        self.claims = self.claims.saturating_sub(1);
    }

    /// Notes pages that were mapped, for which room was kept. All lie in this leaf.
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

    /// Notes that nobody knows whether pages are mapped; they count as if they were.
    pub(crate) fn doubt(&mut self, range: PageRange) {
        let (first, count) = (place(range.first()), range.count() as usize);
        self.stale.set(first, count);
    }

    /// The frame of a page that is mapped.
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

    /// Whether nothing is mapped, or in doubt, or about to be mapped.
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

    /// Whether it has a table.
    pub(crate) fn has_table(&self) -> bool {
        matches!(self.memory, Memory::Table(_))
    }
}
