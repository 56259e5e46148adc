// SPDX-License-Identifier: GPL-2.0
//! Devices in the hands of programs: VFIO with type 1 containers, and iommufd.

use super::common::{with, with_huge_pages};
use crate::case::Case;
use crate::expect;
use crate::initramfs::Pack;
use crate::mode;

/// A guest with huge pages of both sizes.
fn huge_pages(name: &'static str, scenario: &'static str) -> Case {
    with_huge_pages(Case::new("passthrough", name, scenario))
}

/// Two edu and an NVMe controller, each in a group of its own.
fn both_interfaces(name: &'static str) -> Case {
    huge_pages(name, "passthrough").devices(&["edu", "edu", "nvme"]).expect(expect::driver_up())
}

/// The programs of samples/.
fn samples() -> Vec<Case> {
    // edu alone: without flushes, no driver comes up.
    let stale = Case::new("passthrough", "samples-see-stale", "samples-stale").devices(&["edu"]);
    vec![
        with(huge_pages("samples", "samples").devices(&["edu", "nvme"]).pack(Pack::Samples), &mode::STRICT),
        with(stale.pack(Pack::Samples).hypervisor("drop-flush=on"), &mode::STRICT).control_by_guest().thorough(),
    ]
}

/// DPDK on an IOMMU of some width.
fn dpdk(name: &'static str, hypervisor: &'static str) -> Case {
    with(Case::new("passthrough", name, "dpdk"), &mode::STRICT)
        .devices(&["virtio-net", "virtio-net"])
        .append("hugepagesz=2M")
        .append("hugepages=128")
        .memory("1536M")
        .pack(Pack::Dpdk)
        .hypervisor(hypervisor)
        .minutes(10)
        .thorough()
}

/// VFIO's no-IOMMU mode, as the guides for DPDK on Azure have it. A device without an IOMMU is given to vfio-pci and
/// opened by its group as often as here.
fn noiommu(name: &'static str, scenario: &'static str, given: usize, opened: usize) -> Case {
    let case = with(Case::new("passthrough", name, scenario), &mode::STRICT).expect(expect::driver_up());
    expect::noiommu(given, opened).into_iter().fold(case, Case::expect).append("vfio.enable_unsafe_noiommu_mode=1")
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let shared = Case::new("passthrough", "shared-group", "shared-group").devices(&["edu+nvme"]);
    let interfaces = vec![
        with(both_interfaces("both-interfaces"), &mode::STRICT),
        with(shared, &mode::STRICT),
        with(Case::new("passthrough", "rights", "rights").devices(&["edu"]), &mode::STRICT),
        noiommu("noiommu-mode", "noiommu", 1, 1).devices(&["edu", "nvme", "edu"]).hypervisor("unmanaged=0").thorough(),
        noiommu("noiommu-mode-blocked", "noiommu-blocked", 2, 1)
            .expect(expect::taken_away(1))
            .expect(expect::device_refused()),
        with(Case::new("passthrough", "vectors", "vectors"), &mode::STRICT)
            .devices(&["xhci", "edu"])
            .expect(expect::driver_up())
            .thorough(),
        with(Case::new("passthrough", "files", "files"), &mode::STRICT)
            .devices(&["edu"])
            .append("hugepagesz=2M")
            .append("hugepages=8")
            .expect(expect::driver_up())
            .thorough(),
        with(both_interfaces("deferred"), &mode::DEFERRED).thorough(),
        with(both_interfaces("identity"), &mode::IDENTITY).thorough(),
    ];
    let dpdk = vec![
        dpdk("dpdk-width-39", "iova-width=39"),
        dpdk("dpdk-width-44", "iova-width=44"),
        dpdk("dpdk-width-47", "iova-width=47"),
    ];
    [interfaces, dpdk, samples()].concat()
}
