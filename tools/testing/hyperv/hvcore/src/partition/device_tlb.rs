// SPDX-License-Identifier: GPL-2.0
//! When a device's own TLB (ATS) may be on: only behind a table of the guest.
//!
//! A device that is blocked or bypassed must not hold translations: nothing says that requests which it marks as
//! translated are looked at then. The guest switches ATS on after it attached the device, and off before it takes the
//! table away.

use super::Partition;
use crate::ids::{DeviceIndex, LogicalDeviceId};
use crate::platform::{DeviceTlb, Platform, Translation};

impl Partition {
    /// Counts a violation when the device's own TLB is on and its translation does not allow that. To be called after
    /// the guest changed one of the two.
    pub(super) fn check_device_tlb(&mut self, platform: &mut impl Platform, device: DeviceIndex) {
        if platform.device_tlb(device) == DeviceTlb::Disabled {
            return;
        }
        let Some(LogicalDeviceId(id)) = self.iommu.domains().logical_id(device) else { return };
        match self.iommu.domains().device(LogicalDeviceId(id)).map(|(_, translation, _)| translation) {
            Some(Translation::Bypass) => self.violation(platform, format_args!("ATS of bypassed device {id:#x} is on")),
            Some(Translation::Blocked) => self.violation(platform, format_args!("ATS of blocked device {id:#x} is on")),
            Some(Translation::Stage1 { .. }) | None => {}
        }
    }
}
