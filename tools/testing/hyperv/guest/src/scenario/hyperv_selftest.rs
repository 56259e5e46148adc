// SPDX-License-Identifier: GPL-2.0
//! This IOMMU's own tests in the kernel's tree.

use super::checks::{DEVICES, GROUPS, NVME_QUICK, VIOLATIONS};
use super::{check, Check, Scenario};
use crate::checks::hyperv_selftest::{
    dma, dropped_flushes, not_permitted, nvme, other_device, sysfs, without_device, without_driver,
};

const SYSFS: Check = check("selftest-sysfs", sysfs);
const NVME: Check = check("selftest-nvme", nvme);
const OTHER_DEVICE: Check = check("selftest-other-device", other_device);
const NOT_PERMITTED: Check = check("selftest-not-permitted", not_permitted);
const DMA: Check = check("selftest-dma", dma);
const WITHOUT_DEVICE: Check = check("selftest-without-device", without_device);
const WITHOUT_DRIVER: Check = check("selftest-without-driver", without_driver);
const DROPPED_FLUSHES: Check = check("selftest-dropped-flushes", dropped_flushes);

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "selftest",
        summary: "the kernel tree's tests of this IOMMU, on NVMe and edu; the disk works as before",
        checks: &[
            DEVICES,
            GROUPS,
            SYSFS,
            WITHOUT_DEVICE,
            NVME,
            OTHER_DEVICE,
            NOT_PERMITTED,
            DMA,
            NVME_QUICK,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "selftest-without-driver",
        summary: "the same in a guest whose driver is off: nothing is claimed",
        checks: &[DEVICES, GROUPS, WITHOUT_DRIVER],
    },
    Scenario {
        name: "selftest-dropped-flushes",
        summary: "the same while the driver drops flushes (the runner expects it to be noticed)",
        checks: &[DEVICES, GROUPS, DROPPED_FLUSHES],
    },
];
