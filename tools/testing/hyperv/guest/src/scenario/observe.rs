// SPDX-License-Identifier: GPL-2.0
//! What the driver shows of itself.

use super::checks::{
    ANNOUNCED, DEBUGFS_CAPABILITIES, DEBUGFS_DOMAINS, DEVICES, DUMP_ABSURD, DUMP_CONCURRENT, DUMP_EXACT, GROUPS,
    IOMMU_SYSFS, NO_FAULTS, NVME_QUICK, TRACE, TRACE_FAILING, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "observe",
        summary: "tracepoints and debugfs agree with minihv, sysfs and what was mapped",
        checks: &[
            DEVICES,
            GROUPS,
            ANNOUNCED,
            NVME_QUICK,
            IOMMU_SYSFS,
            DEBUGFS_CAPABILITIES,
            DEBUGFS_DOMAINS,
            DUMP_EXACT,
            DUMP_ABSURD,
            DUMP_CONCURRENT,
            TRACE,
            TRACE_FAILING,
            NO_FAULTS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "observe-trace",
        summary: "only the comparison of events and counts (the runner's test of the tests expects it to fail)",
        checks: &[DEVICES, GROUPS, TRACE],
    },
];
