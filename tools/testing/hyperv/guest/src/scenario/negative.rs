// SPDX-License-Identifier: GPL-2.0
//! For tests of the tests.

use super::checks::{CACHES_CONTROL, DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "stale",
        summary: "only the stale-translation checks (the runner's test of the tests expects them to fail)",
        checks: &[DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "dropped-flushes",
        summary: "the driver drops flushes for a while; minihv's log of the caches must notice (the runner, too)",
        checks: &[DEVICES, GROUPS, CACHES_CONTROL],
    },
];
