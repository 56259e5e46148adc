// SPDX-License-Identifier: GPL-2.0

//! One function per hypercall.
//!
//! This file and [`blocks`] build the inputs. Nothing is printed and no state is kept: callers know
//! what a failure means. Each function makes one call, and the hypervisor may do only a part of it.
//!
//! Context, for all: any but NMI, interrupts on or off.

use super::{
    blocks::{
        self,
        Stage, //
    },
    capabilities::HostReport,
    device_domain::*,
    domain_name::DomainName,
    page_range::{
        Unit,
        PAGE_SHIFT, //
    },
};
use kernel::{
    hyperv::{
        hypercall,
        list_call::{
            self,
            Progress,
            Run, //
        },
        pci_device::PciDeviceId,
        status::HypercallError, //
    },
    iommu::domain::Prot, //
};

/// How many units one call maps at most.
pub(crate) const MAP_MAX: u64 = list_call::max_elements::<MapDeviceGpaPages>() as u64;
/// How many pages one call unmaps at most.
pub(crate) const UNMAP_MAX: u64 = list_call::COUNTED_MAX as u64;

fn device_domain(name: DomainName) -> hv_input_device_domain {
    blocks::domain(Stage::Second, name.as_u32())
}

/// Asks what the IOMMU can do.
pub(crate) fn get_capabilities() -> Result<HostReport, HypercallError> {
    let output = hypercall::call::<GetIommuCapabilities>(&hv_input_get_iommu_capabilities {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        reserved: 0,
    })?;
    Ok(HostReport {
        flags: output.iommu_cap,
        width: output.max_iova_width,
        page_sizes: output.pgsize_bitmap,
    })
}

/// Creates a domain.
pub(crate) fn create(name: DomainName) -> Result<(), HypercallError> {
    hypercall::call::<CreateDeviceDomain>(&blocks::create(device_domain(name)))
}

/// Puts a device into a domain, in place of the one it is in.
pub(crate) fn attach(name: DomainName, device: PciDeviceId) -> Result<(), HypercallError> {
    hypercall::call::<AttachDeviceDomain>(&blocks::attach(device_domain(name), device.as_u64()))
}

/// Takes a device out of its domain. The hypervisor blocks its DMA from then on.
pub(crate) fn detach(device: PciDeviceId) -> Result<(), HypercallError> {
    hypercall::call::<DetachDeviceDomain>(&blocks::detach(device.as_u64()))
}

/// Deletes a domain that no device is in.
pub(crate) fn delete(name: DomainName) -> Result<(), HypercallError> {
    hypercall::call::<DeleteDeviceDomain>(&hv_input_delete_device_domain {
        device_domain: device_domain(name),
    })
}

/// The flags for pages that are mapped. The hypervisor demands that devices may read every page, so
/// a page that was to be write-only can be read, too.
fn map_flags(prot: Prot, unit: Unit) -> u32 {
    let mut flags = HV_MAP_DEVICE_GPA_READABLE;
    if prot.contains(Prot::WRITE) {
        flags |= HV_MAP_DEVICE_GPA_WRITABLE;
    }
    if unit == Unit::Large {
        flags |= HV_MAP_DEVICE_GPA_LARGE_PAGE;
    }
    flags
}

/// Maps `units` units from the page number `first` on, onto memory from the page number `frame` on.
pub(crate) fn map(
    name: DomainName,
    first: u64,
    frame: u64,
    unit: Unit,
    units: u64,
    prot: Prot,
) -> Progress {
    let header = hv_input_map_device_gpa_pages {
        device_domain: device_domain(name),
        target_vtl: 0,
        padding: [0; 3],
        map_flags: map_flags(prot, unit),
        target_device_va_base: first << PAGE_SHIFT,
    };
    let frames = Run {
        first: frame,
        step: unit.pages(),
        count: units as usize,
    };
    list_call::make::<MapDeviceGpaPages>(&header, frames)
}

/// Unmaps `pages` pages of 4 KiB from the page number `first` on.
pub(crate) fn unmap(name: DomainName, first: u64, pages: u64) -> Progress {
    let header = hv_input_unmap_device_gpa_pages {
        device_domain: device_domain(name),
        target_device_va_base: first << PAGE_SHIFT,
    };
    list_call::make_counted::<UnmapDeviceGpaPages>(&header, pages as usize)
}
