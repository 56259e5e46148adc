// SPDX-License-Identifier: GPL-2.0

//! Generic I/O page tables in the x86_64 format.
//!
//! The format serves VT-d's first stage and AMD's v2 tables. The IOMMU core maps and unmaps such
//! tables by itself; a driver only says how wide they are and where they are used.
//!
//! C header: [`include/linux/generic_pt/iommu.h`](srctree/include/linux/generic_pt/iommu.h)

use super::Iova;
use crate::{
    bindings,
    device,
    error::{
        code::EINVAL,
        Result, //
    },
    ffi::c_int,
    io::PhysAddr, //
};
use core::ops::RangeInclusive;

/// Depth of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// Four levels, up to 48 bits.
    Four,
    /// Five levels, up to 57 bits.
    Five,
}

impl Levels {
    /// The widths that a table of this depth can have, in bits.
    ///
    /// The narrowest table uses one entry of its top level. The C side does not check for less: it
    /// subtracts what one entry spans from the width, to get the size of the top level.
    pub const fn widths(self) -> RangeInclusive<u8> {
        match self {
            Levels::Four => 39..=48,
            Levels::Five => 48..=57,
        }
    }
}

/// How to build a table.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the table, in bits; one of [`Levels::widths`].
    pub width: u8,
    /// Depth of the table.
    pub levels: Levels,
    /// Last address of the aperture, which starts at 0. The aperture may be narrower than the
    /// table; where it is wider, the table limits it.
    pub last: Iova,
    /// Page sizes that the IOMMU takes, bit n for 2^n bytes.
    pub page_sizes: u64,
    /// Where the table's memory is taken from, if possible.
    pub node: Node,
}

impl Config {
    /// # Errors
    ///
    /// [`EINVAL`]: the table cannot have this width.
    pub(super) fn to_raw(self) -> Result<bindings::pt_iommu_x86_64_cfg> {
        if !self.levels.widths().contains(&self.width) {
            return Err(EINVAL);
        }
        Ok(bindings::pt_iommu_x86_64_cfg {
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
        })
    }
}

/// A NUMA node, or none in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(c_int);

impl Node {
    /// None in particular.
    pub const ANY: Node = Node(bindings::NUMA_NO_NODE);

    /// The node that a device is near to.
    pub fn of(dev: &device::Device) -> Node {
        // SAFETY: The device is valid; the function reads a number of it.
        Node(unsafe { bindings::dev_to_node(dev.as_raw()) })
    }

    pub(super) fn as_raw(self) -> c_int {
        self.0
    }
}

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
