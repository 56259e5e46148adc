// SPDX-License-Identifier: GPL-2.0
//! virtio-iommu's driver in Rust, on QEMU's model of the device, without minihv.

use super::common::{says, with};
use crate::bench::Host;
use crate::case::Case;
use crate::expect::{Expectation, Times};
use crate::mode;
use crate::qemu::Iommu;

/// The driver came up.
fn driver_up() -> Expectation {
    says(
        "the boot line of virtio-iommu's driver",
        r"^virtio_iommu_rust virtio\d+: aperture 0x0-0xffffffffffff, page sizes 0x",
        Times::Once,
    )
}

/// No device is blocked for a request that was refused.
fn nothing_refused() -> Expectation {
    says("the device refuses nothing", r"^virtio_iommu_rust .*(did not unmap|cannot be|not used)", Times::Never)
}

fn on_virtio_iommu(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    with(Case::new("virtio-iommu", name, scenario), words)
        .on(Host::Machine(Iommu::VirtioFortyEight))
        .expect(driver_up())
        .expect(nothing_refused())
        // Checks pause between faults, so that each is printed.
        .minutes(8)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        on_virtio_iommu("quick", "virtio-iommu-quick", &mode::STRICT).devices(&["nvme", "edu"]),
        on_virtio_iommu("strict", "virtio-iommu-dma", &mode::STRICT).with_fio().thorough(),
        on_virtio_iommu("deferred", "virtio-iommu-dma", &mode::DEFERRED).with_fio().thorough(),
        on_virtio_iommu("identity", "virtio-iommu-identity", &mode::IDENTITY).thorough(),
        on_virtio_iommu("passthrough", "virtio-iommu-passthrough", &mode::STRICT)
            .thorough()
            .devices(&["edu", "edu", "nvme"])
            .append("hvtest.aperture=48"),
    ]
}
