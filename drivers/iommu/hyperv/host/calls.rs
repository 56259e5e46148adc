// SPDX-License-Identifier: GPL-2.0

//! One function per hypercall.
//!
//! This file chooses the inputs, and [`blocks`] fills them in. Nothing is printed and no state is
//! kept: callers know what a failure means. Of the flushes on the path of every unmap, only the
//! inputs are here; `domain/flush.rs` makes the calls.
//!
//! Context, for all: any but NMI, interrupts on or off.

use super::{
    blocks::{
        self,
        Stage, //
    },
    capabilities::HostReport,
    domain_ids::DomainId,
    layouts::*,
    trace,
    translation::Translation, //
};
use kernel::hyperv::{
    hypercall::{
        self,
        Call, //
    },
    logical_device::LogicalDeviceId,
    status::HypercallError, //
};

/// Makes a call, and traces its failure.
fn call<C: Call>(input: &C::Input) -> Result<C::Output, HypercallError> {
    hypercall::call::<C>(input).inspect_err(|failure| trace::hypercall_failed(C::CODE, *failure))
}

fn device_domain(id: DomainId) -> hv_input_device_domain {
    numbered_domain(id.as_u32())
}

fn numbered_domain(id: u32) -> hv_input_device_domain {
    blocks::domain(Stage::First, id)
}

/// Asks what the host's IOMMU can do.
pub(crate) fn get_capabilities() -> Result<HostReport, HypercallError> {
    let output = call::<GetIommuCapabilities>(&hv_input_get_iommu_capabilities {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        reserved: 0,
    })?;
    Ok(HostReport {
        flags: output.iommu_cap,
        max_iova_width: output.max_iova_width,
        page_sizes: output.pgsize_bitmap,
    })
}

/// What the hypervisor says about a device and the IOMMU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceIommu {
    /// The device is behind the para-virtualized IOMMU.
    Enabled,
    /// The device does DMA through the host's stage 2 only.
    Disabled,
}

/// Asks whether the guest may attach a device.
#[inline(never)]
pub(crate) fn get_device_iommu(device: LogicalDeviceId) -> Result<DeviceIommu, HypercallError> {
    let output = call::<GetLogicalDeviceProperty>(&hv_input_get_logical_device_property {
        partition_id: HV_PVIOMMU_PARTITION_SELF as u64,
        logical_device_id: device.as_u64(),
        code: HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU,
        reserved: 0,
    })?;
    if output.device_iommu & u64::from(HV_DEVICE_IOMMU_ENABLED) != 0 {
        Ok(DeviceIommu::Enabled)
    } else {
        Ok(DeviceIommu::Disabled)
    }
}

/// Creates a domain.
#[inline(never)]
pub(crate) fn create(id: DomainId) -> Result<(), HypercallError> {
    call::<CreateDeviceDomain>(&blocks::create(device_domain(id)))
}

/// Configures a domain that was just created.
#[inline(never)]
pub(crate) fn configure(id: DomainId, translation: Translation) -> Result<(), HypercallError> {
    let (flags, page_table_root) = translation.flags_and_root();
    call::<ConfigureDeviceDomain>(&blocks::configure(
        device_domain(id),
        flags,
        page_table_root,
    ))
}

/// Puts a device into a domain, in place of the one it is in.
#[inline(never)]
pub(crate) fn attach(id: DomainId, device: LogicalDeviceId) -> Result<(), HypercallError> {
    call::<AttachDeviceDomain>(&blocks::attach(device_domain(id), device.as_u64()))
}

/// Takes a device out of its domain. The hypervisor blocks its DMA from then on.
#[inline(never)]
pub(crate) fn detach(device: LogicalDeviceId) -> Result<(), HypercallError> {
    call::<DetachDeviceDomain>(&blocks::detach(device.as_u64()))
}

/// Deletes a domain that no device is attached to.
#[inline(never)]
pub(crate) fn delete(id: DomainId) -> Result<(), HypercallError> {
    call::<DeleteDeviceDomain>(&hv_input_delete_device_domain {
        device_domain: device_domain(id),
    })
}

/// Drops all that is cached of a domain. `domain/flush.rs` does the same on the path of every
/// unmap.
#[inline(never)]
pub(crate) fn flush(id: DomainId) -> Result<(), HypercallError> {
    call::<FlushDeviceDomain>(&flush_input(id))
}

/// The input of [`FlushDeviceDomain`].
pub(crate) fn flush_input(id: DomainId) -> hv_input_flush_device_domain {
    hv_input_flush_device_domain {
        device_domain: device_domain(id),
        flags: 0,
        reserved: 0,
    }
}

/// The header of [`FlushDeviceDomainList`]. Each call fills in the domain's number.
pub(crate) fn flush_list_header() -> hv_input_flush_device_domain_list {
    blocks::list_flush(numbered_domain(HV_DEVICE_DOMAIN_ID_NULL))
}
