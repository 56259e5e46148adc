// SPDX-License-Identifier: GPL-2.0
//! Devices with ATS.

use super::checks::{
    ATS_FAILED_FLUSH, ATS_IDENTITY_USER, ATS_KERNEL_IO, ATS_OFF, ATS_ON, ATS_RETURN, ATS_TOLD, ATS_TOLD_NOT, ATS_TYPES,
    ATS_UNMAP, ATS_USER, DEVICES, GROUPS, NO_FAULTS, NVME_QUICK, RESET_COUNTED, RESET_TOUCHED, VFIO_REMAP, VFIO_STALE,
    VIOLATIONS, VIRTIO,
};
use super::Scenario;

/// The scenarios. The virtio check at the end shows that the device works after all that was done to it.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ats",
        summary: "a host and a device with ATS: on behind tables, off while blocked; flushes reach the device",
        checks: &[
            DEVICES,
            GROUPS,
            ATS_ON,
            NVME_QUICK,
            ATS_KERNEL_IO,
            ATS_UNMAP,
            ATS_USER,
            ATS_TOLD,
            ATS_TYPES,
            ATS_RETURN,
            VIRTIO,
            NO_FAULTS,
            VFIO_STALE,
            VFIO_REMAP,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "ats-identity",
        summary: "the same in bypass: off but for user space's domains",
        checks: &[DEVICES, GROUPS, ATS_OFF, ATS_IDENTITY_USER, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-not-offered",
        summary: "a device with ATS on a host that does not offer it: off",
        checks: &[DEVICES, GROUPS, ATS_OFF, ATS_TOLD_NOT, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-failed-flush",
        summary: "a flush that fails while a device has ATS",
        checks: &[DEVICES, GROUPS, ATS_ON, ATS_FAILED_FLUSH, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-touched",
        summary: "a device is reset while a program touches it and processors come and go (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, ATS_ON, RESET_TOUCHED, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-counted",
        summary: "the same while counters of performance events are read",
        checks: &[DEVICES, GROUPS, ATS_ON, RESET_COUNTED, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-unmap",
        summary: "only the check of device TLB invalidations (the runner's test of the tests expects it to fail)",
        checks: &[DEVICES, GROUPS, ATS_ON, ATS_UNMAP],
    },
];
