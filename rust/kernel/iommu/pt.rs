// SPDX-License-Identifier: GPL-2.0

//! Generic I/O page tables in the x86_64 format.
//!
//! The format serves VT-d's first stage and AMD's v2 tables. The IOMMU core maps and unmaps such
//! tables by itself; a driver only says how wide they are and where they are used.
//!
//! C header: [`include/linux/generic_pt/iommu.h`](srctree/include/linux/generic_pt/iommu.h)

use crate::{
    bindings,
    io::PhysAddr, //
};

/// Depth of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// Four levels, up to 48 bits.
    Four,
    /// Five levels, up to 57 bits.
    Five,
}

/// How to build a table.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the IOVAs, in bits: the aperture is `0..=2^width - 1`.
    pub width: u8,
    /// Depth of the table; at least as many levels as `width` needs.
    pub levels: Levels,
    /// Page sizes that the IOMMU takes, bit n for 2^n bytes.
    pub page_sizes: u64,
    /// NUMA node for the table's memory, or [`ANY_NODE`].
    pub node: i32,
}

impl Config {
    pub(super) fn to_raw(self) -> bindings::pt_iommu_x86_64_cfg {
        bindings::pt_iommu_x86_64_cfg {
            common: bindings::pt_iommu_cfg {
                // Gathers become page-selective flushes, gaps included.
                features: 1 << bindings::pt_features_PT_FEAT_FLUSH_RANGE,
                hw_max_vasz_lg2: self.width,
                // Output addresses: all that an entry can hold.
                hw_max_oasz_lg2: 52,
            },
            // The level of the top table, counted from 0.
            top_level: match self.levels {
                Levels::Four => 3,
                Levels::Five => 4,
            },
        }
    }
}

/// No NUMA node in particular.
pub const ANY_NODE: i32 = bindings::NUMA_NO_NODE;

/// What the hardware needs to know of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableInfo {
    /// Physical address of the 4 KiB top table.
    pub root: PhysAddr,
    /// Depth of the table.
    pub levels: Levels,
}

/// Reads an entry of a table that may change, or go, at any time.
///
/// `address` is the entry's physical address. [`None`]: nothing can be read there, as it is
/// misaligned, is no memory, or is memory that is not to be touched.
///
/// Context: may sleep.
#[cfg(CONFIG_IOMMU_DEBUGFS)]
pub fn peek_entry(address: PhysAddr) -> Option<u64> {
    let mut entry = 0;
    // SAFETY: `entry` is valid for a write; the function takes any address.
    unsafe { bindings::iommu_peek64(address, &mut entry) }.then_some(entry)
}
