// SPDX-License-Identifier: GPL-2.0
//! Bits of the entries of stage-1 tables (x86-64 format).

/// The entry translates, or leads to another table.
pub const PRESENT: u64 = 1 << 0;
/// Above the last level: the entry is a leaf.
pub const LARGE: u64 = 1 << 7;
/// Where the address stands.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
