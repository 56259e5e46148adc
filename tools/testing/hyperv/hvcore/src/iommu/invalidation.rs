// SPDX-License-Identifier: GPL-2.0
//! What the hardware has to do when the state of domains changes, or when a guest asks for a flush.

use crate::ids::DeviceIndex;
use crate::platform::{CacheTag, Platform, Translation};
use crate::request::iommu::FlushRange;

/// Something that the hardware has to do, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the hardware and the state disagree until this is performed"]
pub enum Invalidation {
    /// Nothing.
    None,
    /// A device has another translation, and nothing of the old one is cached.
    Switch {
        /// Which.
        device: DeviceIndex,
        /// The new one.
        translation: Translation,
        /// What it is cached under.
        tag: CacheTag,
    },
    /// What is cached under a tag is dropped.
    Domain(CacheTag),
    /// The same of a range alone.
    Range(CacheTag, FlushRange),
    /// A device's own TLB drops a range.
    DeviceTlb(DeviceIndex, FlushRange),
}

impl Invalidation {
    /// Has the hardware do it; complete on return.
    pub fn perform(self, platform: &mut impl Platform) {
        match self {
            Invalidation::None => {}
            Invalidation::Switch { device, translation, tag } => {
                platform.set_translation(device, translation, tag);
                // A device's own TLB knows no tags: what it holds of the old domain must go.
                Invalidation::DeviceTlb(device, FlushRange::ALL).perform(platform);
            }
            Invalidation::Domain(tag) => platform.flush_domain(tag),
            Invalidation::Range(tag, range) => platform.flush_pages(tag, range.iova(), range.page_shift()),
            Invalidation::DeviceTlb(device, range) => {
                platform.flush_device_tlb(device, range.iova(), range.page_shift());
            }
        }
    }
}
