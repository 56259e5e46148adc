// SPDX-License-Identifier: GPL-2.0
//! Entries of tables, as far as caches care. Those of stage 1 and those of the second stage, where all that is mapped can
//! be read, have the same bits for this.

use super::ranges::IovaRange;
use crate::ids::{Gpa, Iova};
use crate::iommu::entry::{ADDRESS, LARGE, PRESENT};
use crate::platform::PagingLevels;

/// Entries of a table.
pub const ENTRIES: u16 = 512;
/// Bytes of a table.
pub const TABLE_BYTES: u64 = 4096;
/// Accessed and dirty, which the IOMMU sets itself, and the bits that it ignores.
const WITHOUT_EFFECT: u64 = 1 << 5 | 1 << 6 | 0x7 << 9 | 0x7ff << 52;

/// Level of a table: 1 for the one of 4-KiB leaves, up to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// The top table's.
    pub fn top(levels: PagingLevels) -> Level {
        match levels {
            PagingLevels::Four => Level(4),
            PagingLevels::Five => Level(5),
        }
    }

    /// The level of the tables that this level's entries point at; `None` when they are all leaves.
    pub fn below(self) -> Option<Level> {
        (self.0 > 1).then(|| Level(self.0 - 1))
    }

    /// As the documentation of page tables counts.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Base-2 logarithm of the pages that one entry covers.
    fn entry_shift(self) -> u8 {
        9 * (self.0 - 1)
    }
}

/// Where a table is in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its level.
    pub level: Level,
    /// The first address that it translates.
    pub base: Iova,
}

impl Place {
    /// What the whole table covers.
    pub fn range(self) -> IovaRange {
        IovaRange::block(self.base, self.level.entry_shift() + 9)
    }

    /// What its entry `index` covers.
    pub fn entry_range(self, index: u16) -> IovaRange {
        let offset = u64::from(index % ENTRIES) << (12 + self.level.entry_shift());
        IovaRange::block(Iova(self.base.0 | offset), self.level.entry_shift())
    }

    /// Where the table is that entry `index` points at.
    pub fn child(self, index: u16) -> Option<Place> {
        Some(Place { level: self.level.below()?, base: self.entry_range(index).first() })
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: no cache keeps it.
    Absent,
    /// A table of the next level is at this address.
    Table(Gpa),
    /// A translation; two that are equal are the same to every device.
    Leaf(u64),
}

impl Entry {
    /// Of the raw word in a table of `level`.
    pub fn decode(raw: u64, level: Level) -> Entry {
        match raw & PRESENT {
            0 => Entry::Absent,
            _ if level.below().is_none() || raw & LARGE != 0 => Entry::Leaf(raw & !WITHOUT_EFFECT),
            _ => Entry::Table(Gpa(raw & ADDRESS)),
        }
    }
}

/// What entry `index` of a table at `place` is when the table translates as `leaf` did, the raw entry that was in its place.
pub fn part(leaf: u64, place: Place, index: u16) -> Entry {
    let offset = u64::from(index) << (12 + place.level.entry_shift());
    let kind = if place.level.below().is_none() { LARGE } else { 0 };
    Entry::Leaf((leaf & !kind).wrapping_add(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let (top, middle, bottom) = (Level::top(PagingLevels::Five), Level(2), Level(1));
        assert_eq!(Entry::decode(0x1234_5066, middle), Entry::Absent);
        assert_eq!(Entry::decode(0x1234_5027, middle), Entry::Table(Gpa(0x1234_5000)));
        assert_eq!(Entry::decode(0x8000_0000_1220_00e7, middle), Entry::Leaf(0x8000_0000_1220_0087));
        // PAT in a small leaf.
        assert_eq!(Entry::decode(0x1234_50e7, bottom), Entry::Leaf(0x1234_5087));
        assert_eq!(Entry::decode(0x7ff0_0000_1234_5e67, bottom), Entry::decode(0x1234_5007, bottom));
        assert_ne!(Entry::decode(0x1234_5065, bottom), Entry::decode(0x1234_5067, bottom));
        assert_eq!(Entry::decode(0x1234_5027, top), Entry::Table(Gpa(0x1234_5000)));
    }

    #[test]
    fn places() {
        let root = Place { level: Level::top(PagingLevels::Four), base: Iova(0) };
        assert_eq!(root.range().pages(), 1 << 36);
        let child = root.child(1).unwrap().child(2).unwrap().child(3).unwrap();
        assert_eq!((child.level.number(), child.base), (1, Iova(0x80_8060_0000)));
        assert_eq!(child.entry_range(5), IovaRange::block(Iova(0x80_8060_5000), 0));
        assert_eq!(child.child(0), None);
    }
}
