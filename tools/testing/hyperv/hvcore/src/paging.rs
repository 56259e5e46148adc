// SPDX-License-Identifier: GPL-2.0
//! Arithmetic of four-level tables in x86-64 format: sizes of leaves, indices, and the leaves that a range takes.

use crate::memory_map::PhysRange;

/// Entries of a table.
pub const ENTRIES: u64 = 512;

/// What an entry translates, in ascending size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
    /// 1 GiB.
    Huge,
}

impl PageSize {
    const ALL: [PageSize; 3] = [PageSize::Huge, PageSize::Large, PageSize::Small];
    /// Level of the root; leaves are on level 0 to 2.
    pub const TOP_LEVEL: u32 = 3;

    /// The level of such a leaf.
    pub const fn level(self) -> u32 {
        self as u32
    }

    /// Bytes of such a leaf.
    pub const fn bytes(self) -> u64 {
        1 << shift(self.level())
    }
}

/// Base-2 logarithm of the bytes that an entry of a level stands for.
pub const fn shift(level: u32) -> u32 {
    12 + 9 * level
}

/// Where an address has its entry in a table of a level.
pub const fn index(address: u64, level: u32) -> usize {
    (address >> shift(level) & (ENTRIES - 1)) as usize
}

/// Leaves of up to `largest` that cover `range`, shrunk to whole 4 KiB pages, exactly and in ascending order: at each
/// place the largest one that is aligned and does not reach behind the end.
pub fn leaves(range: PhysRange, largest: PageSize) -> impl Iterator<Item = (u64, PageSize)> {
    let small = PageSize::Small.bytes();
    let mut at = range.start.checked_next_multiple_of(small).unwrap_or(range.end);
    let end = range.end - range.end % small;
    core::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|&left| left > 0)?;
        let fits = |size: &PageSize| *size <= largest && at % size.bytes() == 0 && left >= size.bytes();
        let size = PageSize::ALL.into_iter().find(fits).unwrap_or(PageSize::Small);
        let leaf = (at, size);
        at += size.bytes();
        Some(leaf)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use PageSize::{Huge, Large, Small};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn all(start: u64, end: u64, largest: PageSize) -> Vec<(u64, PageSize)> {
        leaves(PhysRange { start, end }, largest).collect()
    }

    #[test]
    fn indices() {
        assert_eq!([0, 1, 2, 3].map(shift), [12, 21, 30, 39]);
        let address = 3 << 39 | 5 << 30 | 7 << 21 | 9 << 12 | 0xfff;
        assert_eq!([0, 1, 2, 3].map(|level| index(address, level)), [9, 7, 5, 3]);
        assert_eq!(index(u64::MAX, 3), 511);
    }

    #[test]
    fn a_range_takes_the_largest_leaves_that_fit() {
        assert_eq!(all(0x1000, 0x3000, Huge), [(0x1000, Small), (0x2000, Small)]);
        assert_eq!(all(2 * MIB, 4 * MIB, Huge), [(2 * MIB, Large)]);
        let edge = all(2 * MIB - 0x1000, 4 * MIB + 0x1000, Huge);
        assert_eq!(edge, [(2 * MIB - 0x1000, Small), (2 * MIB, Large), (4 * MIB, Small)]);
        assert_eq!(all(GIB, 3 * GIB, Huge), [(GIB, Huge), (2 * GIB, Huge)]);
        assert_eq!(all(GIB, 2 * GIB, Large).len(), 512);
        assert_eq!(all(0, 2 * MIB, Small).len(), 512);
    }

    #[test]
    fn ranges_shrink_to_whole_pages() {
        assert_eq!(all(0x1001, 0x3fff, Huge), [(0x2000, Small)]);
        for (start, end) in [(0x1001, 0x1fff), (0x1000, 0x1000), (0x2000, 0x1000), (u64::MAX, u64::MAX)] {
            assert_eq!(all(start, end, Huge), [], "{start:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_range_is_covered_once(start in 0u64..8 << 30, bytes in 0u64..3 << 30, largest in 0usize..2) {
            let largest = [Large, Huge][largest];
            let end = start + bytes;
            let mut next = start.next_multiple_of(4096);
            for (at, size) in leaves(PhysRange { start, end }, largest) {
                prop_assert_eq!(at, next);
                prop_assert!(at % size.bytes() == 0 && size <= largest);
                next = at + size.bytes();
            }
            prop_assert_eq!(next.max(end & !0xfff), next);
            prop_assert!(next <= end || next == start.next_multiple_of(4096));
        }
    }
}
