// SPDX-License-Identifier: GPL-2.0
//! Encodings of Intel VT-d's scalable mode (VT-d specification, revision 4.1): tables, descriptors, fault records.
//!
//! Arithmetic only. Who reads or writes the memory and the registers is [`crate::platform`]'s implementation.

pub mod audit;
pub mod context;
pub mod did;
pub mod fault;
pub mod interrupt;
pub mod invalidation;
pub mod paging;
pub mod pasid;
pub mod queue;
pub mod registers;
pub mod root;
pub mod second_stage;

use crate::ids::Gpa;

/// A host physical address, in bytes. Under minihv guest memory lies at the same address in both worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The 4-KiB frame as table entries carry it: bits 51:12, everything else cleared.
    const fn frame(self) -> u64 {
        self.0 & 0x000f_ffff_ffff_f000
    }
}

impl From<Gpa> for PhysAddr {
    fn from(gpa: Gpa) -> Self {
        PhysAddr(gpa.0)
    }
}
