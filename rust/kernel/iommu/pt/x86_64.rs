// SPDX-License-Identifier: GPL-2.0

//! The x86_64 format: VT-d's first stage and AMD's v2 tables.

use super::{
    format::format_functions,
    Features,
    Format, //
};
use crate::{
    bindings,
    error::{
        code::EINVAL,
        Result, //
    },
    io::PhysAddr, //
};
use core::ops::RangeInclusive;

/// The depth of a table.
///
/// # Examples
///
/// ```
/// use kernel::iommu::pt::Levels;
///
/// assert!(Levels::Four.widths().contains(&47));
/// assert!(!Levels::Four.widths().contains(&57));
/// ```
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
    /// The narrowest table uses one entry of its top level. A smaller width must be refused here.
    /// The C side subtracts what one entry spans from the width, and does not check whether the
    /// width is at least that.
    pub const fn widths(self) -> RangeInclusive<u8> {
        match self {
            Levels::Four => 39..=48,
            Levels::Five => 48..=57,
        }
    }
}

/// The depth and width of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X86_64Shape {
    /// The table's depth.
    pub levels: Levels,
    /// The width of the addresses that are translated, in bits; one of [`Levels::widths`].
    pub width: u8,
}

/// What an IOMMU is told about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X86_64Info {
    /// Physical address of the 4 KiB top table.
    pub root: PhysAddr,
    /// The table's depth.
    pub levels: Levels,
}

/// The format.
pub struct X86_64;

// SAFETY: `pt_iommu_x86_64` begins with a `struct pt_iommu`. The macro and `top` name the functions
// of the same format.
unsafe impl Format for X86_64 {
    type Shape = X86_64Shape;
    type Info = X86_64Info;

    const FEATURES: Features = Features::NONE;

    format_functions!(
        pt_iommu_x86_64,
        pt_iommu_x86_64_cfg,
        pt_iommu_x86_64_init,
        pt_iommu_x86_64_iova_to_phys,
        pt_iommu_x86_64_read_and_clear_dirty
    );

    fn raw_config(common: bindings::pt_iommu_cfg, shape: X86_64Shape) -> Result<Self::RawConfig> {
        if !shape.levels.widths().contains(&shape.width) {
            return Err(EINVAL);
        }
        Ok(bindings::pt_iommu_x86_64_cfg {
            common: bindings::pt_iommu_cfg {
                hw_max_vasz_lg2: shape.width,
                ..common
            },
            // The level of the top table, counted from 0.
            top_level: match shape.levels {
                Levels::Four => 3,
                Levels::Five => 4,
            },
        })
    }

    #[inline(always)]
    unsafe fn top(table: *mut Self::Table) -> (PhysAddr, u32) {
        let mut info = bindings::pt_iommu_x86_64_hw_info::default();
        // SAFETY: The caller promises an initialised table. `info` is valid for a write.
        unsafe { bindings::pt_iommu_x86_64_hw_info(table, &mut info) };
        (info.gcr3_pt, u32::from(info.levels).saturating_sub(1))
    }

    fn info(root: PhysAddr, level: u32) -> X86_64Info {
        X86_64Info {
            root,
            levels: if level > 3 {
                Levels::Five
            } else {
                Levels::Four
            },
        }
    }
}
