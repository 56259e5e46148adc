// SPDX-License-Identifier: GPL-2.0

//! The inputs of hypercalls about device domains, filled in.
//!
//! No other file names the fields of these inputs. So a kernel tree whose own headers have the
//! layouts, with other fields, needs another form of this file and of no other one. The driver of
//! the root partition uses it, too. Numbers are given here as hypercalls take them; `calls.rs` of
//! either driver keeps them apart by their types.
//!
//! C header: [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

use core::mem::offset_of;
use kernel::bindings::{
    hv_input_attach_device_domain,
    hv_input_configure_device_domain,
    hv_input_create_device_domain,
    hv_input_detach_device_domain,
    hv_input_device_domain,
    hv_input_flush_device_domain_list,
    HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS,
    HV_DEVICE_DOMAIN_TYPE_S1,
    HV_DEVICE_DOMAIN_TYPE_S2,
    HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT,
    HV_PVIOMMU_PARTITION_SELF, //
};

/// Which stage of translation a domain is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// By tables of the partition's own.
    First,
    /// By tables that the hypervisor keeps.
    Second,
}

/// Where a domain's number stands in its name, in bytes.
pub(crate) const DOMAIN_NUMBER_OFFSET: usize = offset_of!(hv_input_device_domain, id);

/// The name of the domain `number` of this partition.
pub(crate) fn domain(stage: Stage, number: u32) -> hv_input_device_domain {
    hv_input_device_domain {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        owner_vtl: 0,
        padding: [0; 7],
        type_: match stage {
            Stage::First => HV_DEVICE_DOMAIN_TYPE_S1,
            Stage::Second => HV_DEVICE_DOMAIN_TYPE_S2,
        },
        id: number,
    }
}

/// A domain is to be made. The hypervisor is to see to it that what was begun goes on.
pub(crate) fn create(domain: hv_input_device_domain) -> hv_input_create_device_domain {
    hv_input_create_device_domain {
        device_domain: domain,
        flags: HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS,
        padding: 0,
    }
}

/// What a domain does with DMA: `HV_DEVICE_DOMAIN_*`, and the guest physical address of its top
/// table.
pub(crate) fn configure(
    domain: hv_input_device_domain,
    flags: u64,
    page_table_root: u64,
) -> hv_input_configure_device_domain {
    hv_input_configure_device_domain {
        device_domain: domain,
        flags,
        page_table_root,
    }
}

/// A device is to be put into a domain.
pub(crate) fn attach(
    domain: hv_input_device_domain,
    device_id: u64,
) -> hv_input_attach_device_domain {
    hv_input_attach_device_domain {
        device_domain: domain,
        device_id,
    }
}

/// A device is to be taken out of its domain.
pub(crate) fn detach(device_id: u64) -> hv_input_detach_device_domain {
    hv_input_detach_device_domain {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        device_id,
    }
}

/// What comes before the list of blocks that a domain is to be flushed of.
pub(crate) fn list_flush(domain: hv_input_device_domain) -> hv_input_flush_device_domain_list {
    hv_input_flush_device_domain_list {
        device_domain: domain,
        flags: HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT,
        reserved: 0,
    }
}
