// SPDX-License-Identifier: GPL-2.0
//! Entries of second-stage tables. There is no present bit: an entry that allows neither reads nor writes is absent.

use super::PhysAddr;

/// The device may read.
pub const READ: u64 = 1 << 0;
/// The device may write.
pub const WRITE: u64 = 1 << 1;
/// Of an entry above the lowest level: it maps a page, and points at no table.
pub const LARGE: u64 = 1 << 7;

/// Entry that points at the next table, 4-KiB aligned. What may be done is for the leaf to say.
pub const fn table(next: PhysAddr) -> u64 {
    next.frame() | READ | WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(table(PhysAddr(0xfff0_0000_0000_5fff)), 0x5003);
        assert_eq!(LARGE, 0x80);
    }
}
