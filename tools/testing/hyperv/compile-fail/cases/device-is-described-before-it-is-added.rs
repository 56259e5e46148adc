// SPDX-License-Identifier: GPL-2.0
//! What firmware says of a device is written before anybody can read it.

use kernel::device::Device;
use kernel::iommu::fwspec;
use kernel::platform::owned::NewDevice;
use kernel::prelude::*;

#[cfg(misuse)]
pub fn describe(device: &Device, iommu: &Device) -> Result {
    fwspec::describe(device, iommu, &[1]) //~ E0308: mismatched types
}

#[cfg(not(misuse))]
pub fn describe(device: &mut NewDevice<'_>, iommu: &Device) -> Result {
    fwspec::describe(device, iommu, &[1])
}
