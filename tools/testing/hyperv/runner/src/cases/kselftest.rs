// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests of VFIO and iommufd, unmodified.

use super::common::{with, with_huge_pages};
use crate::case::Case;
use crate::expect;
use crate::initramfs::Pack;
use crate::mode;

/// What the tests need that no device here has. Each of them says so, and nothing else is let pass.
mod missing {
    pub const RESET: &str = "Device does not support reset";
    pub const MSI: &str = "MSI: not supported";
    pub const MSIX: &str = "MSI-x: not supported";
    /// The tests have DMA drivers for Intel's DSA and I/OAT, NVIDIA's Falcon, and the 82576 network adapter.
    pub const DMA_DRIVER: &str = "No driver found for device";
    pub const SRIOV: &str = "SR-IOV may not be supported by the PF";
    /// Half of iommufd's tests of virtual IOMMUs have nothing to test in the variant without one.
    pub const VIOMMU: &str = "Skipping test for variant no_viommu";
}

/// A guest with huge pages of both sizes and the tests of VFIO.
fn vfio_guest(name: &'static str, scenario: &'static str, devices: &[&'static str]) -> Case {
    let case = with_vfio_tests(Case::new("vfio", name, scenario)).devices(devices);
    with(case.expect(expect::driver_up()), &mode::STRICT)
}

/// Huge pages of both sizes, and the tests of VFIO.
fn with_vfio_tests(case: Case) -> Case {
    with_huge_pages(case).pack(Pack::Kselftest)
}

/// What all tests of VFIO on one device, but for those of 1 GiB pages, may skip.
fn excused(case: Case) -> Case {
    case.may_skip(r"vfio_pci_driver_test\..*", missing::DMA_DRIVER)
        .may_skip(r"vfio_pci_sriov_uapi_test\..*", missing::SRIOV)
}

/// All those on one device.
fn vfio(name: &'static str, device: &'static str) -> Case {
    excused(vfio_guest(name, "kselftest-vfio", &[device]))
}

/// The same on edu, for a case that is otherwise complete.
pub fn vfio_on_edu(case: Case) -> Case {
    excused(with_vfio_tests(case)).devices(&["edu"]).may_skip(RESET, missing::RESET).may_skip(MSIX, missing::MSIX)
}

/// The same on an NVMe controller.
pub fn vfio_on_nvme(case: Case) -> Case {
    excused(with_vfio_tests(case)).devices(&["nvme"]).may_skip(MSI, missing::MSI)
}

/// Tests with mock devices; edu shows that the driver is there all the same.
fn iommufd(name: &'static str, scenario: &'static str) -> Case {
    let case = Case::new("iommufd", name, scenario).devices(&["edu"]).memory("2G").pack(Pack::Kselftest);
    with(case.expect(expect::driver_up()), &["hugepagesz=2M", "hugepages=80"])
}

/// All of them. Some fail for reasons that lie in the kernel they run on; a kernel on which they pass has to be noticed.
fn iommufd_all() -> Case {
    const VARIANTS: [&str; 4] = ["no_domain", "mock_domain", "two_mock_domain", "mock_domain_limit"];
    // Linux 7.3's mock exporter (iommufd_test_dmabuf_get) answers 0 where the tests want the dma-buf's descriptor.
    const NO_DESCRIPTOR: [&str; 2] = ["dmabuf_simple", "dmabuf_revoke"];
    // Without CONFIG_TRANSPARENT_HUGEPAGE iommufd aligns the addresses that it chooses to single pages.
    const NO_HUGE_ALIGNMENT: &str = "area_auto_iova";
    let mut case = iommufd("all", "kselftest-iommufd")
        .may_skip(r"iommufd\.iommufd_viommu\.no_viommu\..*", missing::VIOMMU)
        .must_fail("iommufd.iommufd_ioas.no_domain.reserved_overflow");
    for variant in VARIANTS {
        for test in NO_DESCRIPTOR.into_iter().chain([NO_HUGE_ALIGNMENT]) {
            case = case.must_fail(&format!("iommufd.iommufd_ioas.{variant}.{test}"));
        }
    }
    case.thorough()
}

const RESET: &str = r"vfio_pci_device_test\..*\.reset";
const MSI: &str = r"vfio_pci_device_test\..*\.msi\..*";
const MSIX: &str = r"vfio_pci_device_test\..*\.msix\..*";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        vfio("edu", "edu").may_skip(RESET, missing::RESET).may_skip(MSIX, missing::MSIX),
        vfio("nvme", "nvme").may_skip(MSI, missing::MSI).thorough(),
        vfio("virtio", "virtio-blk").may_skip(RESET, missing::RESET).may_skip(MSI, missing::MSI).thorough(),
        vfio_guest("one-gib-pages", "kselftest-vfio-1g", &["edu", "nvme"]).thorough(),
        iommufd("basics", "kselftest-iommufd-basics"),
        iommufd_all(),
    ]
}
