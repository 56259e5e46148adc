// SPDX-License-Identifier: GPL-2.0
//! What the hardware has to do when the state of domains changes, or when a guest asks for a flush.

use crate::ids::DeviceIndex;
use crate::platform::{Platform, Translation};
use crate::request::iommu::FlushRange;

/// Something that the hardware has to do, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the hardware and the state disagree until this is performed"]
pub enum Invalidation {
    /// Nothing.
    None,
    /// A device has another translation, and nothing of the old one is cached.
    Switch(DeviceIndex, Translation),
    /// The IOMMU drops all that it has cached for a device.
    Device(DeviceIndex),
    /// It drops a range of that.
    Range(DeviceIndex, FlushRange),
    /// A device's own TLB drops a range.
    DeviceTlb(DeviceIndex, FlushRange),
}

impl Invalidation {
    /// Has the hardware do it; complete on return.
    pub fn perform(self, platform: &mut impl Platform) {
        match self {
            Invalidation::None => {}
            Invalidation::Switch(device, translation) => {
                platform.set_translation(device, translation);
                // What the device's own TLB holds of the old domain must go, too.
                Invalidation::DeviceTlb(device, FlushRange::ALL).perform(platform);
            }
            Invalidation::Device(device) => platform.flush_device(device),
            Invalidation::Range(device, range) => {
                platform.flush_device_pages(device, range.iova(), range.page_shift());
            }
            Invalidation::DeviceTlb(device, range) => {
                platform.flush_device_tlb(device, range.iova(), range.page_shift());
            }
        }
    }
}
