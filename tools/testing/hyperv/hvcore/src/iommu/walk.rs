// SPDX-License-Identifier: GPL-2.0
//! A software walk of a guest's stage-1 table, to compare with what the hardware does.

use alloc::vec;
use core::ops::Range;

use super::entry::{ADDRESS, LARGE, PRESENT};
use crate::ids::{Gpa, Iova};
use crate::platform::{PagingLevels, Platform};

/// The entry that maps an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The entry itself.
    pub entry: u64,
    /// Base-2 logarithm of the number of 4-KiB pages that it maps: 0, 9 or 18.
    pub page_shift: u8,
    /// What the address is translated to.
    pub address: Gpa,
}

/// Why an address is not mapped. Levels count from 1, the table of 4-KiB leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The upper address bits do not repeat the top translated one.
    NonCanonical,
    /// The entry of this level is not present.
    NotPresent(u8),
    /// The entry of this level has a bit set that must be clear there.
    Reserved(u8),
    /// The table of this level is not in guest RAM.
    OutsideRam(u8),
}

/// In a large leaf the PAT bit takes the place of the lowest address bit.
const LARGE_PAT: u64 = 1 << 12;
const BITS_PER_LEVEL: u32 = 9;

/// Finds the leaf that maps `iova`.
///
/// # Errors
/// See [`Fault`].
pub fn walk(platform: &impl Platform, root: Gpa, levels: PagingLevels, iova: Iova) -> Result<Leaf, Fault> {
    let top = top_level(levels);
    let unused_bits = 64 - 12 - BITS_PER_LEVEL * u32::from(top);
    if ((iova.0 << unused_bits) as i64 >> unused_bits) as u64 != iova.0 {
        return Err(Fault::NonCanonical);
    }
    let mut table = root.0 & ADDRESS;
    for level in (1..=top).rev() {
        let page_shift = (u32::from(level) - 1) * BITS_PER_LEVEL;
        let index = iova.0 >> (12 + page_shift) & 0x1ff;
        let entry = read_entry(platform, table, index).ok_or(Fault::OutsideRam(level))?;
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent(level));
        }
        let is_leaf = level == 1 || entry & LARGE != 0;
        if !is_leaf {
            table = entry & ADDRESS;
            continue;
        }
        let offset_mask = (1u64 << (12 + page_shift)) - 1;
        let misplaced = if level == 1 { 0 } else { entry & ADDRESS & offset_mask & !LARGE_PAT };
        if level > 3 || misplaced != 0 {
            return Err(Fault::Reserved(level));
        }
        let address = Gpa(entry & ADDRESS & !offset_mask | iova.0 & offset_mask);
        return Ok(Leaf { entry, page_shift: page_shift as u8, address });
    }
    // Not reached: level 1 always ends the walk.
    Err(Fault::NotPresent(1))
}

/// A table that is not searched to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Counts the leaves of a table that point into `range`, whatever address they map.
///
/// # Errors
/// [`TooLarge`] after 65536 tables: one of them may contain itself.
pub fn leaves_into(
    platform: &impl Platform,
    root: Gpa,
    levels: PagingLevels,
    range: &Range<u64>,
) -> Result<u64, TooLarge> {
    const TABLES_MAX: usize = 1 << 16;
    let mut waiting = vec![(root.0 & ADDRESS, top_level(levels))];
    let (mut searched, mut found) = (0, 0);
    while let Some((table, level)) = waiting.pop() {
        searched += 1;
        if searched > TABLES_MAX {
            return Err(TooLarge);
        }
        for index in 0..512 {
            // A table outside of RAM has no entries.
            let Some(entry) = read_entry(platform, table, index).filter(|entry| entry & PRESENT != 0) else { continue };
            if level > 1 && entry & LARGE == 0 {
                waiting.push((entry & ADDRESS, level - 1));
                continue;
            }
            let bytes = 1u64 << (12 + (u32::from(level) - 1) * BITS_PER_LEVEL);
            let start = entry & ADDRESS & !(bytes - 1);
            found += u64::from(start < range.end && range.start < start.saturating_add(bytes));
        }
    }
    Ok(found)
}

fn top_level(levels: PagingLevels) -> u8 {
    match levels {
        PagingLevels::Four => 4,
        PagingLevels::Five => 5,
    }
}

fn read_entry(platform: &impl Platform, table: u64, index: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    platform.read(Gpa(table).checked_add(index * 8)?, &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, MockPlatform};
    use alloc::vec;
    use proptest::prelude::*;

    const ROOT: u64 = 0x1_0000;

    /// Tables at 0x10000, 0x11000, ... for `iova`, with `leaf` at `leaf_level`.
    fn mapped(top: u64, leaf_level: u64, iova: u64, leaf: u64) -> MockPlatform {
        let mut platform = MockPlatform::new(vec![function(3)]);
        for level in (leaf_level..=top).rev() {
            let table = ROOT + (top - level) * 0x1000;
            let index = iova >> (12 + 9 * (level - 1)) & 511;
            let entry = if level == leaf_level { leaf } else { (table + 0x1000) | 0x27 };
            platform.put_u64(table + index * 8, entry);
        }
        platform
    }

    fn walk4(platform: &MockPlatform, iova: u64) -> Result<Leaf, Fault> {
        walk(platform, Gpa(ROOT), PagingLevels::Four, Iova(iova))
    }

    #[test]
    fn leaves_of_every_size() {
        let iova = 0x7654_3210_7abc;
        let leaf = walk4(&mapped(4, 1, iova, 0x1234_5067), iova);
        assert_eq!(leaf, Ok(Leaf { entry: 0x1234_5067, page_shift: 0, address: Gpa(0x1234_5abc) }));
        let leaf = walk4(&mapped(4, 2, iova, 0x0060_00e7), iova);
        assert_eq!(leaf, Ok(Leaf { entry: 0x0060_00e7, page_shift: 9, address: Gpa(0x0070_7abc) }));
        let leaf = walk4(&mapped(4, 3, iova, 0x1_4000_00e7), iova);
        assert_eq!(leaf, Ok(Leaf { entry: 0x1_4000_00e7, page_shift: 18, address: Gpa(0x1_7210_7abc) }));
    }

    #[test]
    fn five_levels() {
        let iova = 0x00ab_7654_3210_7abc;
        let platform = mapped(5, 1, iova, 0x1234_5067);
        let leaf = walk(&platform, Gpa(ROOT), PagingLevels::Five, Iova(iova)).unwrap();
        assert_eq!(leaf.address, Gpa(0x1234_5abc));
        assert_eq!(walk4(&platform, iova), Err(Fault::NonCanonical));
    }

    #[test]
    fn faults() {
        let iova = 0x1000_0000;
        assert_eq!(walk4(&mapped(4, 1, iova, 0x1234_5066), iova), Err(Fault::NotPresent(1)));
        assert_eq!(walk4(&mapped(4, 1, iova, 0x1234_5067), iova + 0x1000), Err(Fault::NotPresent(1)));
        assert_eq!(walk4(&mapped(4, 1, iova, 0x1234_5067), 1 << 39), Err(Fault::NotPresent(4)));
        assert_eq!(walk4(&mapped(4, 4, iova, 0xe7), iova), Err(Fault::Reserved(4)));
        assert_eq!(walk4(&mapped(4, 2, iova, 0x0061_00e7 | 0x2000), iova), Err(Fault::Reserved(2)));
        assert!(walk4(&mapped(4, 2, iova, 0x0060_10e7), iova).is_ok());
        assert_eq!(walk4(&mapped(4, 3, iova, 0x8000_0027), iova), Err(Fault::OutsideRam(2)));
        assert_eq!(walk4(&mapped(4, 1, 0, 0), 1 << 47), Err(Fault::NonCanonical));
        assert_eq!(walk4(&mapped(4, 1, u64::MAX, 0x67), u64::MAX).map(|leaf| leaf.address), Ok(Gpa(0xfff)));
    }

    proptest! {
        #[test]
        fn any_table_is_survived(words in prop::collection::vec(any::<u64>(), 512), iova: u64, masked: bool) {
            let mut platform = MockPlatform::new(vec![function(3)]);
            for (index, word) in words.iter().enumerate() {
                let word = if masked { word & 0xf_ffff | 1 } else { *word };
                platform.put_u64(ROOT + index as u64 * 8, word);
            }
            for levels in [PagingLevels::Four, PagingLevels::Five] {
                if let Ok(leaf) = walk(&platform, Gpa(ROOT), levels, Iova(iova & 0x7fff_ffff_ffff)) {
                    prop_assert!(matches!(leaf.page_shift, 0 | 9 | 18));
                    prop_assert_eq!(leaf.address.page_offset(), iova & 0xfff);
                }
            }
        }
    }
}
