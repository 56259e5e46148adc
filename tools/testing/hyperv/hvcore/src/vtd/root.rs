// SPDX-License-Identifier: GPL-2.0
//! The root table: one page, indexed by bus number.

use super::PhysAddr;
use crate::ids::Rid;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 16;

/// An entry of the root table: two 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry;

impl Entry {
    /// No device of this bus gets through.
    pub const ABSENT: [u64; 2] = [0; 2];

    /// Points at the context tables for devices 0..=15 (`lower`) and 16..=31 (`upper`), each 4-KiB aligned.
    pub fn to_tables(lower: Option<PhysAddr>, upper: Option<PhysAddr>) -> [u64; 2] {
        let half = |table: Option<PhysAddr>| table.map_or(0, |address| address.frame() | 1);
        [half(lower), half(upper)]
    }
}

/// Index of a requester's entry in the root table, 0..=255.
pub const fn index(rid: Rid) -> usize {
    (rid.0 >> 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(Entry::to_tables(Some(PhysAddr(0x1234_5000)), None), [0x1234_5001, 0]);
        assert_eq!(Entry::to_tables(None, Some(PhysAddr(0x9000))), [0, 0x9001]);
        assert_eq!(index(Rid(0x0310)), 3);
    }
}
