// SPDX-License-Identifier: GPL-2.0

//! The format of RISC-V's IOMMUs.

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

/// The depth and width of a table, by the architecture's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sv {
    /// Three levels, 39 bits.
    Sv39,
    /// Four levels, 48 bits.
    Sv48,
    /// Five levels, 57 bits.
    Sv57,
}

/// What an IOMMU is told about a table.
///
/// # Examples
///
/// ```
/// use kernel::iommu::pt::{
///     Riscv64Info,
///     Sv, //
/// };
///
/// /// The word of a device context that names a table.
/// fn iosatp(info: Riscv64Info) -> u64 {
///     let mode = match info.mode {
///         Sv::Sv39 => 8,
///         Sv::Sv48 => 9,
///         Sv::Sv57 => 10,
///     };
///     mode << 60 | info.ppn
/// }
///
/// let info = Riscv64Info {
///     ppn: 0x80200,
///     mode: Sv::Sv48,
/// };
/// assert_eq!(iosatp(info), 0x9000_0000_0008_0200);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Riscv64Info {
    /// Number of the 4 KiB page that is the top table.
    pub ppn: u64,
    /// The table's depth and width.
    pub mode: Sv,
}

/// The format.
pub struct Riscv64;

// SAFETY: `pt_iommu_riscv_64` begins with a `struct pt_iommu`. The macro and `top` name the
// functions of the same format.
unsafe impl Format for Riscv64 {
    type Shape = Sv;
    type Info = Riscv64Info;

    const FEATURES: Features = Features::of_format(bindings::pt_features_PT_FEAT_DETAILED_GATHER);

    format_functions!(
        pt_iommu_riscv_64,
        pt_iommu_riscv_64_cfg,
        pt_iommu_riscv_64_init,
        pt_iommu_riscv_64_iova_to_phys,
        pt_iommu_riscv_64_read_and_clear_dirty
    );

    fn raw_config(common: bindings::pt_iommu_cfg, shape: Sv) -> Result<Self::RawConfig> {
        Ok(bindings::pt_iommu_riscv_64_cfg {
            common: bindings::pt_iommu_cfg {
                hw_max_vasz_lg2: match shape {
                    Sv::Sv39 => 39,
                    Sv::Sv48 => 48,
                    Sv::Sv57 => 57,
                },
                // An entry can hold 56 bits; the C side refuses more.
                hw_max_oasz_lg2: common.hw_max_oasz_lg2.min(56),
                ..common
            },
        })
    }

    #[inline(always)]
    unsafe fn top(table: *mut Self::Table) -> (PhysAddr, u32) {
        let mut info = bindings::pt_iommu_riscv_64_hw_info::default();
        // SAFETY: The caller promises an initialised table. `info` is valid for a write.
        unsafe { bindings::pt_iommu_riscv_64_hw_info(table, &mut info) };
        // Sv39, with its top table at level 2, is mode 8; each further level adds 1 to the mode.
        let level = u32::from(info.fsc_iosatp_mode).saturating_sub(6);
        (info.ppn << 12, level)
    }

    fn info(root: PhysAddr, level: u32) -> Riscv64Info {
        Riscv64Info {
            ppn: root >> 12,
            mode: match level {
                ..=2 => Sv::Sv39,
                3 => Sv::Sv48,
                4.. => Sv::Sv57,
            },
        }
    }
}
