// SPDX-License-Identifier: GPL-2.0
//! PASID directories and tables. Requests without PASID use PASID 0: entry 0 of both.

use super::did::Did;
use super::PhysAddr;

/// Bytes of a table entry.
pub const ENTRY_BYTES: usize = 64;

const PRESENT: u64 = 1 << 0;
/// Address width 48 bits. The field belongs to second-stage tables, but QEMU's canonical check of first-stage
/// addresses uses it as well: 0 would reject everything from 512 MiB on.
const AW_48: u64 = 2 << 2;
const PGTT_FIRST_STAGE: u64 = 1 << 6;
const PGTT_SECOND_STAGE: u64 = 2 << 6;

/// An entry of a PASID directory: one 64-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry;

impl DirectoryEntry {
    /// Points at a PASID table (one page, 64 entries).
    pub const fn to_table(table: PhysAddr) -> u64 {
        table.frame() | PRESENT
    }
}

/// An entry of a PASID table: eight 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry;

impl Entry {
    /// Nothing gets through. All zero, not merely "not present": QEMU looks at P only when it re-reads the context
    /// entry, but rejects translation type 0 at every IOTLB miss.
    pub const ABSENT: [u64; 8] = [0; 8];

    /// Translates by the 4-level first-stage table at `root` (4-KiB aligned); results are cached under `did`.
    pub fn first_stage(root: PhysAddr, did: Did) -> [u64; 8] {
        [PRESENT | AW_48 | PGTT_FIRST_STAGE, u64::from(did.0), root.frame(), 0, 0, 0, 0, 0]
    }

    /// Translates by the 4-level second-stage table at `root` (4-KiB aligned); results are cached under `did`.
    pub fn second_stage(root: PhysAddr, did: Did) -> [u64; 8] {
        [root.frame() | PRESENT | AW_48 | PGTT_SECOND_STAGE, u64::from(did.0), 0, 0, 0, 0, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(DirectoryEntry::to_table(PhysAddr(0x7000)), 0x7001);
        assert_eq!(
            Entry::first_stage(PhysAddr(0x1_2345_6000), Did(0x4321)),
            [0x49, 0x4321, 0x1_2345_6000, 0, 0, 0, 0, 0]
        );
        let second = Entry::second_stage(PhysAddr(0xfff0_1234_5678_9fff), Did(0x4321));
        assert_eq!(second, [0x1234_5678_9089, 0x4321, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Entry::ABSENT, [0; 8]);
    }

    #[test]
    fn stray_address_bits_stay_out() {
        let words = Entry::first_stage(PhysAddr(0xfff0_0000_0000_2fff), Did(1));
        assert_eq!(words[2], 0x2000);
    }
}
