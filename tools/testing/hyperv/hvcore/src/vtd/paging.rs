// SPDX-License-Identifier: GPL-2.0
//! Entries of first-stage tables: x86-64 paging entries, for the hypervisor's own identity table.

use super::PhysAddr;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;

/// Entry that points at the next table, 4-KiB aligned.
pub const fn table(next: PhysAddr) -> u64 {
    next.frame() | PRESENT | WRITABLE | USER | ACCESSED
}

/// Writable 4-KiB leaf.
pub const fn leaf_4k(page: PhysAddr) -> u64 {
    table(page) | DIRTY
}

/// Writable 2-MiB leaf; `page` is 2-MiB aligned.
pub const fn leaf_2m(page: PhysAddr) -> u64 {
    table(page) | DIRTY | LARGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(table(PhysAddr(0x5000)), 0x5027);
        assert_eq!(leaf_4k(PhysAddr(0x5000)), 0x5067);
        assert_eq!(leaf_2m(PhysAddr(0x60_0000)), 0x60_00e7);
    }
}
