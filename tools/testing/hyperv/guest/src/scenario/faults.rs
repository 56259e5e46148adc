// SPDX-License-Identifier: GPL-2.0
//! Hosts on which hypercalls fail.

use super::checks::{
    DEVICES, GROUPS, NO_FAULTS, NVME_QUICK, RAW_BLOCKED, REFUSED, VFIO_FLUSH_FAILURE, VIOLATIONS, VIRTIO,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "refused-device",
        summary: "one device (edu) that the driver could not take: it does no DMA, the others work",
        checks: &[DEVICES, REFUSED, NVME_QUICK, VIRTIO, NO_FAULTS, RAW_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "failing-flush",
        summary: "a host on which no flush works",
        checks: &[DEVICES, GROUPS, VFIO_FLUSH_FAILURE],
    },
];
