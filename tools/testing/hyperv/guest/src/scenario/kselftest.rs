// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests of VFIO and iommufd.

use super::checks::{
    DEVICES, GROUPS, NO_FAULTS, SELFTEST_DEVICE, SELFTEST_DRIVER, SELFTEST_FAIL_NTH, SELFTEST_IOMMUFD,
    SELFTEST_IOMMUFD_BASICS, SELFTEST_MAPPING, SELFTEST_MAPPING_1G, SELFTEST_MMIO, SELFTEST_PERF, SELFTEST_SETUP,
    SELFTEST_SRIOV, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kselftest-vfio",
        summary: "the kernel's tests of VFIO, on every device of the guest",
        checks: &[
            DEVICES,
            GROUPS,
            SELFTEST_SETUP,
            SELFTEST_DEVICE,
            SELFTEST_MMIO,
            SELFTEST_MAPPING,
            SELFTEST_PERF,
            SELFTEST_DRIVER,
            SELFTEST_SRIOV,
            NO_FAULTS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kselftest-vfio-1g",
        summary: "the kernel's test of VFIO that maps 1 GiB pages, on every device of the guest",
        checks: &[DEVICES, GROUPS, SELFTEST_MAPPING_1G, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "kselftest-iommufd-basics",
        summary: "the short ones of the kernel's tests of iommufd, on mock devices",
        checks: &[DEVICES, SELFTEST_IOMMUFD_BASICS, VIOLATIONS],
    },
    Scenario {
        name: "kselftest-iommufd",
        summary: "the kernel's tests of iommufd, all of them, on mock devices, also with failing allocations",
        checks: &[DEVICES, SELFTEST_IOMMUFD, SELFTEST_FAIL_NTH, VIOLATIONS],
    },
];
