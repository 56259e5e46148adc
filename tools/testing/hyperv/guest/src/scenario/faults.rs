// SPDX-License-Identifier: GPL-2.0
//! Hosts on which hypercalls fail.

use super::checks::{
    DEFERRED_FLUSH_FAILURE, DEVICES, FLUSH_FAILURE_OF_TWO, GROUPS, NO_FAULTS, NVME_QUICK, ODD_ANSWERS, RAW_BLOCKED,
    REFUSED, SHARED_ID, SHARED_ID_FOLLOWS, STALE_REFUSED, UNDELETABLE, VFIO_FLUSH_FAILURE, VFIO_UNBLOCKABLE,
    VIOLATIONS, VIRTIO,
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
        name: "shared-id",
        summary: "two devices with one id: one is used, the other is not until the first one is gone",
        checks: &[DEVICES, SHARED_ID, SHARED_ID_FOLLOWS, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "odd-answers",
        summary: "a host that answers flushes with words that mean nothing, or carries lists out in portions",
        checks: &[DEVICES, GROUPS, ODD_ANSWERS, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "failing-flush",
        summary: "a host on which no flush works",
        checks: &[DEVICES, GROUPS, VFIO_FLUSH_FAILURE],
    },
    Scenario {
        name: "failing-flush-and-block",
        summary: "a host on which neither flushing nor blocking works any more",
        checks: &[DEVICES, GROUPS, VFIO_UNBLOCKABLE],
    },
    Scenario {
        name: "failing-flush-of-two",
        summary: "two devices in one domain that cannot be flushed any more",
        checks: &[DEVICES, GROUPS, FLUSH_FAILURE_OF_TWO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "stale-domain",
        summary: "a domain that could not be flushed, and a program that wants to use it again",
        checks: &[DEVICES, GROUPS, STALE_REFUSED, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "undeletable-domains",
        summary: "a host that deletes no domain, and creates and configures none for a while",
        checks: &[DEVICES, GROUPS, UNDELETABLE, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "failing-deferred-flush",
        summary: "the same, where flushes are deferred",
        checks: &[DEVICES, GROUPS, DEFERRED_FLUSH_FAILURE],
    },
];
