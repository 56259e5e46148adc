// SPDX-License-Identifier: GPL-2.0
//! iommufd's commands and their structures, by the kernel's header `include/uapi/linux/iommufd.h` and under its names.
//! The published bindings are under a licence that does not go with this program's.

#![allow(non_camel_case_types)]

/// Type of all commands' codes.
pub const IOMMUFD_TYPE: u8 = b';';

pub const IOMMUFD_CMD_DESTROY: u32 = 0x80;
pub const IOMMUFD_CMD_IOAS_ALLOC: u32 = 0x81;
pub const IOMMUFD_CMD_IOAS_IOVA_RANGES: u32 = 0x84;
pub const IOMMUFD_CMD_IOAS_MAP: u32 = 0x85;
pub const IOMMUFD_CMD_IOAS_UNMAP: u32 = 0x86;
pub const IOMMUFD_CMD_HWPT_ALLOC: u32 = 0x89;
pub const IOMMUFD_CMD_GET_HW_INFO: u32 = 0x8a;
pub const IOMMUFD_CMD_IOAS_MAP_FILE: u32 = 0x8f;
pub const IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA: u32 = 0x95;

pub const IOMMU_IOAS_MAP_FIXED_IOVA: u32 = 1 << 0;
pub const IOMMU_IOAS_MAP_WRITEABLE: u32 = 1 << 1;
pub const IOMMU_IOAS_MAP_READABLE: u32 = 1 << 2;
pub const IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED: u64 = 1 << 3;

/// Declares a structure, and checks its size in bytes.
macro_rules! structure {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $bytes);
    };
}

structure!(
    /// Deletes an object.
    iommu_destroy, 8, { size: u32, id: u32, }
);
structure!(
    /// Makes an I/O address space.
    iommu_ioas_alloc, 12, { size: u32, flags: u32, out_ioas_id: u32, }
);
structure!(
    /// Addresses, both ends included.
    iommu_iova_range, 16, { start: u64, last: u64, }
);
structure!(
    /// Asks for the addresses that may be mapped.
    iommu_ioas_iova_ranges, 32, {
        size: u32, ioas_id: u32, num_iovas: u32, reserved: u32, allowed_iovas: u64, out_iova_alignment: u64,
    }
);
structure!(
    /// Maps memory of the process.
    iommu_ioas_map, 40, {
        size: u32, flags: u32, ioas_id: u32, reserved: u32, user_va: u64, length: u64, iova: u64,
    }
);
structure!(
    /// Maps a file.
    iommu_ioas_map_file, 40, {
        size: u32, flags: u32, ioas_id: u32, fd: i32, start: u64, length: u64, iova: u64,
    }
);
structure!(
    /// Unmaps.
    iommu_ioas_unmap, 24, { size: u32, ioas_id: u32, iova: u64, length: u64, }
);
structure!(
    /// Makes a hardware page table.
    iommu_hwpt_alloc, 48, {
        size: u32, flags: u32, dev_id: u32, pt_id: u32, out_hwpt_id: u32, reserved: u32, data_type: u32, data_len: u32,
        data_uptr: u64, fault_id: u32, reserved2: u32,
    }
);
structure!(
    /// Asks for what a device's IOMMU can do. The type is in and out.
    iommu_hw_info, 40, {
        size: u32, flags: u32, dev_id: u32, data_len: u32, data_uptr: u64, data_type: u32, out_max_pasid_log2: u8,
        reserved: [u8; 3], out_capabilities: u64,
    }
);
structure!(
    /// Asks where memory is that no IOMMU translates for.
    iommu_ioas_noiommu_get_pa, 40, {
        size: u32, flags: u32, ioas_id: u32, reserved: u32, iova: u64, length: u64, out_phys: u64,
    }
);
