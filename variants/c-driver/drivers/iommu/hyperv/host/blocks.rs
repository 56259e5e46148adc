// SPDX-License-Identifier: GPL-2.0

//! Fills in the inputs of hypercalls about device domains.
//!
//! No other file names the fields of these inputs. This version of the file uses the layouts of the
//! kernel's own headers, which the driver in C uses, too. The driver of the root partition's IOMMU
//! uses this file as well. It takes plain numbers; `calls.rs` of either driver gives them types.
//!
//! C headers: [`include/hyperv/hvhdk_mini.h`](srctree/include/hyperv/hvhdk_mini.h) has the layouts.
//! [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h) compares them with those
//! that the driver was written for.

use core::mem::{
    offset_of,
    size_of, //
};
use kernel::bindings::{
    hv_create_device_domain_flags,
    hv_device_domain_id,
    hv_device_domain_settings,
    hv_device_domain_settings__bindgen_ty_1 as SettingsFlags,
    hv_device_id,
    hv_input_attach_device_domain,
    hv_input_configure_device_domain,
    hv_input_create_device_domain,
    hv_input_detach_device_domain,
    hv_input_device_domain,
    hv_input_flush_device_domain_list,
    hv_input_vtl,
    HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS,
    HV_DEVICE_DOMAIN_5_LEVEL,
    HV_DEVICE_DOMAIN_BLOCKED,
    HV_DEVICE_DOMAIN_TRANSLATION_ENABLED,
    HV_DEVICE_DOMAIN_TYPE_S1,
    HV_DEVICE_DOMAIN_TYPE_S2,
    HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT,
    HV_PVIOMMU_PARTITION_SELF, //
};

/// Which stage of translation a domain is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The partition's own page tables translate.
    First,
    /// Page tables that the hypervisor keeps translate.
    Second,
}

/// The offset of a domain's number in its name, in bytes: the upper half of its `domain_id`.
pub(crate) const DOMAIN_NUMBER_OFFSET: usize =
    offset_of!(hv_input_device_domain, domain_id) + size_of::<u32>();

/// The name of the domain `number` of this partition.
pub(crate) fn domain(stage: Stage, number: u32) -> hv_input_device_domain {
    let domain_type = match stage {
        Stage::First => HV_DEVICE_DOMAIN_TYPE_S1,
        Stage::Second => HV_DEVICE_DOMAIN_TYPE_S2,
    };
    hv_input_device_domain {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        owner_vtl: hv_input_vtl { as_uint8: 0 },
        padding: [0; 7],
        domain_id: hv_device_domain_id {
            as_uint64: u64::from(number) << u32::BITS | u64::from(domain_type),
        },
    }
}

/// Creates a domain. By its name, the flag demands forward progress of the hypervisor; no document
/// says what that means.
pub(crate) fn create(domain: hv_input_device_domain) -> hv_input_create_device_domain {
    hv_input_create_device_domain {
        device_domain: domain,
        create_device_domain_flags: hv_create_device_domain_flags {
            as_uint32: HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS,
        },
        padding: 0,
    }
}

/// Configures what a domain does with DMA: `flags` are `HV_DEVICE_DOMAIN_*`, `page_table_root` is
/// the guest physical address of its top table.
pub(crate) fn configure(
    domain: hv_input_device_domain,
    flags: u64,
    page_table_root: u64,
) -> hv_input_configure_device_domain {
    let bit = |mask: u32| u64::from(flags & u64::from(mask) != 0);
    hv_input_configure_device_domain {
        device_domain: domain,
        settings: hv_device_domain_settings {
            flags: SettingsFlags {
                _bitfield_1: SettingsFlags::new_bitfield_1(
                    bit(HV_DEVICE_DOMAIN_TRANSLATION_ENABLED),
                    bit(HV_DEVICE_DOMAIN_BLOCKED),
                    bit(HV_DEVICE_DOMAIN_5_LEVEL),
                    0,
                ),
                ..Default::default()
            },
            page_table_root,
        },
    }
}

/// Attaches a device to a domain.
pub(crate) fn attach(
    domain: hv_input_device_domain,
    device_id: u64,
) -> hv_input_attach_device_domain {
    hv_input_attach_device_domain {
        device_domain: domain,
        device_id: hv_device_id {
            as_uint64: device_id,
        },
    }
}

/// Detaches a device from its domain.
pub(crate) fn detach(device_id: u64) -> hv_input_detach_device_domain {
    hv_input_detach_device_domain {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        device_id: hv_device_id {
            as_uint64: device_id,
        },
    }
}

/// The header of a list flush; the list of blocks follows it.
pub(crate) fn list_flush(domain: hv_input_device_domain) -> hv_input_flush_device_domain_list {
    hv_input_flush_device_domain_list {
        device_domain: domain,
        flags: HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT,
        reserved: 0,
        ..Default::default()
    }
}
