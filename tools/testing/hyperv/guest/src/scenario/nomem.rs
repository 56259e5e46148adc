// SPDX-License-Identifier: GPL-2.0
//! Allocations that fail, one at a time.

use super::checks::{
    DEVICES, GROUPS, KMEMLEAK, NOMEM_BUS, NOMEM_PROBE, NOMEM_REGISTRY, NOMEM_TABLES, NOMEM_USER, VFIO_MAPPED,
    VFIO_STALE,
};
use super::Scenario;

/// The scenarios. In the end there is memory, and everything works.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "nomem",
    summary: "every allocation fails once",
    checks: &[
        DEVICES,
        GROUPS,
        NOMEM_PROBE,
        NOMEM_USER,
        NOMEM_TABLES,
        NOMEM_REGISTRY,
        NOMEM_BUS,
        VFIO_MAPPED,
        VFIO_STALE,
        KMEMLEAK,
    ],
}];
