// SPDX-License-Identifier: GPL-2.0

//! The format of AMD's "host" tables, which can grow at the top.

use super::{
    format::format_functions,
    Features,
    Format, //
};
use crate::{
    bindings,
    error::Result,
    io::PhysAddr, //
};

/// The depth of a new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingLevel {
    /// Two levels, 30 bits.
    Two = 1,
    /// Three levels, 39 bits.
    Three = 2,
    /// Four levels, 48 bits.
    Four = 3,
    /// Five levels, 57 bits.
    Five = 4,
    /// Six levels, all 64 bits.
    Six = 5,
}

/// What an IOMMU is told about a table.
///
/// # Examples
///
/// ```
/// use kernel::iommu::pt::{
///     AmdV1Info,
///     StartingLevel, //
/// };
///
/// /// The first word of an entry of a device table: the table is valid, and may be read and
/// /// written.
/// fn entry(info: AmdV1Info) -> u64 {
///     info.root | u64::from(info.mode) << 9 | 3 << 61 | 3
/// }
///
/// assert_eq!(StartingLevel::Six as u32, 5);
/// assert_eq!(entry(AmdV1Info { root: 0x1000, mode: 3 }), 0x6000_0000_0000_1603);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmdV1Info {
    /// Physical address of the 4 KiB top table.
    pub root: PhysAddr,
    /// The number of the table's levels, as the mode of a device table entry has it.
    pub mode: u8,
}

/// The format. A table grows upwards when something is mapped beyond its end:
/// [`TableDomain::change_top`](super::TableDomain::change_top).
pub struct AmdV1;

// SAFETY: `pt_iommu_amdv1` begins with a `struct pt_iommu`. The macro and `top` name the functions
// of the same format.
unsafe impl Format for AmdV1 {
    type Shape = StartingLevel;
    type Info = AmdV1Info;

    // The C side is compiled for tables that have all of these features.
    const FEATURES: Features = Features::DYNAMIC_TOP.with(
        Features::of_format(bindings::PT_FEAT_AMDV1_ENCRYPT_TABLES)
            .with(Features::of_format(bindings::PT_FEAT_AMDV1_FORCE_COHERENCE)),
    );

    format_functions!(
        pt_iommu_amdv1,
        pt_iommu_amdv1_cfg,
        pt_iommu_amdv1_init,
        pt_iommu_amdv1_iova_to_phys,
        pt_iommu_amdv1_read_and_clear_dirty
    );

    fn raw_config(common: bindings::pt_iommu_cfg, shape: StartingLevel) -> Result<Self::RawConfig> {
        Ok(bindings::pt_iommu_amdv1_cfg {
            common: bindings::pt_iommu_cfg {
                hw_max_vasz_lg2: 64,
                ..common
            },
            starting_level: shape as u32,
        })
    }

    #[inline(always)]
    unsafe fn top(table: *mut Self::Table) -> (PhysAddr, u32) {
        let mut info = bindings::pt_iommu_amdv1_hw_info::default();
        // SAFETY: The caller promises an initialised table. `info` is valid for a write.
        unsafe { bindings::pt_iommu_amdv1_hw_info(table, &mut info) };
        (info.host_pt_root, u32::from(info.mode).saturating_sub(1))
    }

    fn info(root: PhysAddr, level: u32) -> AmdV1Info {
        AmdV1Info {
            root,
            // The mode is 6 at most.
            mode: level.saturating_add(1) as u8,
        }
    }
}
