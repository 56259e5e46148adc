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
    says(
        "the device refuses nothing",
        r"^virtio_iommu_rust .*(did not unmap|cannot be|not used|is blocked)",
        Times::Never,
    )
}

/// QEMU's IOMMU knows a device behind a bridge by the endpoint of the bridge's bus only. The kernel asks about that of the
/// device, too, and the answer is `VIRTIO_IOMMU_S_NOENT`.
fn unknown_endpoint() -> Case {
    on_virtio_iommu("unknown-endpoint", "virtio-iommu-refused", &mode::STRICT)
        .devices(&["nvme", "edu,behind=bridge"])
        .expect(says(
            "a device with an unknown endpoint is not used",
            r"^(pci|edu) .*: IOMMU: not used, its properties are not known: errno -2$",
            Times::Once,
        ))
        .expect(says(
            "no endpoint is left where it was",
            r"^virtio_iommu_rust .*(did not unmap|cannot be|not used)",
            Times::Never,
        ))
}

/// The smallest block that the IOMMU maps is larger than a page.
fn large_blocks() -> Case {
    with(Case::new("virtio-iommu", "large-blocks", "virtio-iommu-unusable"), &mode::STRICT)
        .on(Host::Machine(Iommu::VirtioLargeBlocks))
        .devices(&["nvme", "edu"])
        .expect(says(
            "the driver says why it does not use the IOMMU",
            r"^virtio_iommu_rust virtio\d+: not used: no memory, blocks larger than a page, or too few domains$",
            Times::Once,
        ))
}

/// A case in which the driver comes up.
fn on_virtio_iommu(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    with(Case::new("virtio-iommu", name, scenario), words)
        .on(Host::Machine(Iommu::VirtioFortyEight))
        .expect(driver_up())
}

/// A case in which the IOMMU answers each request with success.
fn on_willing_iommu(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    on_virtio_iommu(name, scenario, words)
        .expect(nothing_refused())
        // Checks pause between faults, so that each is printed.
        .minutes(8)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        on_willing_iommu("quick", "virtio-iommu-quick", &mode::STRICT).devices(&["nvme", "edu"]),
        unknown_endpoint(),
        large_blocks(),
        on_willing_iommu("strict", "virtio-iommu-dma", &mode::STRICT).with_fio().thorough(),
        on_willing_iommu("deferred", "virtio-iommu-dma", &mode::DEFERRED).with_fio().thorough(),
        on_willing_iommu("identity", "virtio-iommu-identity", &mode::IDENTITY).thorough(),
        on_willing_iommu("passthrough", "virtio-iommu-passthrough", &mode::STRICT)
            .thorough()
            .devices(&["edu", "edu", "nvme"])
            .append("hvtest.aperture=48"),
    ]
}
