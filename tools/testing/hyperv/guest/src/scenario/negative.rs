// SPDX-License-Identifier: GPL-2.0
//! For tests of the tests.

use super::checks::{DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "stale",
    summary: "only the stale-translation checks (the runner's test of the tests expects them to fail)",
    checks: &[DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE],
}];
