// SPDX-License-Identifier: GPL-2.0

//! The format of VT-d's second stage.

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

/// The depth and width of a table.
///
/// # Examples
///
/// ```
/// use kernel::iommu::pt::VtdSsShape;
///
/// // A table of 30 bits could do with two levels, which VT-d does not have.
/// assert!(VtdSsShape::widths(2).is_none());
/// assert!(VtdSsShape::widths(3).is_some_and(|widths| widths.contains(&30)));
/// assert!(VtdSsShape::widths(4).is_some_and(|widths| *widths.end() == 48));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdSsShape {
    /// The number of levels, 3 to 5.
    pub levels: u8,
    /// The width of the addresses that are translated, in bits; one of [`Self::widths`].
    pub width: u8,
}

impl VtdSsShape {
    /// The widths that a table of this depth can have, in bits. [`None`] if no table has this
    /// depth. The narrowest table uses one entry of its top level.
    pub const fn widths(levels: u8) -> Option<RangeInclusive<u8>> {
        match levels {
            3 => Some(30..=39),
            4 => Some(39..=48),
            5 => Some(48..=57),
            _ => None,
        }
    }
}

/// What an IOMMU is told about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdSsInfo {
    /// Physical address of the 4 KiB top table.
    pub root: PhysAddr,
    /// The address width as a context entry has it: the number of levels minus 2.
    pub address_width: u8,
}

/// The format.
pub struct VtdSs;

// SAFETY: `pt_iommu_vtdss` begins with a `struct pt_iommu`. The macro and `top` name the functions
// of the same format.
unsafe impl Format for VtdSs {
    type Shape = VtdSsShape;
    type Info = VtdSsInfo;

    const FEATURES: Features = Features::NONE;

    format_functions!(
        pt_iommu_vtdss,
        pt_iommu_vtdss_cfg,
        pt_iommu_vtdss_init,
        pt_iommu_vtdss_iova_to_phys,
        pt_iommu_vtdss_read_and_clear_dirty
    );

    fn raw_config(common: bindings::pt_iommu_cfg, shape: VtdSsShape) -> Result<Self::RawConfig> {
        if !VtdSsShape::widths(shape.levels).is_some_and(|widths| widths.contains(&shape.width)) {
            return Err(EINVAL);
        }
        Ok(bindings::pt_iommu_vtdss_cfg {
            common: bindings::pt_iommu_cfg {
                hw_max_vasz_lg2: shape.width,
                ..common
            },
            // The level of the top table, counted from 0.
            top_level: u32::from(shape.levels).saturating_sub(1),
        })
    }

    #[inline(always)]
    unsafe fn top(table: *mut Self::Table) -> (PhysAddr, u32) {
        let mut info = bindings::pt_iommu_vtdss_hw_info::default();
        // SAFETY: The caller promises an initialised table. `info` is valid for a write.
        unsafe { bindings::pt_iommu_vtdss_hw_info(table, &mut info) };
        (info.ssptptr, u32::from(info.aw).saturating_add(1))
    }

    fn info(root: PhysAddr, level: u32) -> VtdSsInfo {
        VtdSsInfo {
            root,
            // The level is 4 at most, so the result fits.
            address_width: level.saturating_sub(1) as u8,
        }
    }
}
