// SPDX-License-Identifier: GPL-2.0
//! Much of everything: domains, processors.

use super::checks::{
    DEVICES, DMA_BENCHMARK, DOMAINS_ALIVE, DOMAIN_CYCLES, DOMAIN_QUOTA, GROUPS, IOVA_EXHAUSTED, KMEMLEAK, NO_FAULTS,
    NVME_QUICK, OVERTAKEN, TURMOIL, VFIO_STALE, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "domains",
        summary: "many domains, one after the other and at once (hvtest.rounds= tells how many), without a leak",
        checks: &[DEVICES, GROUPS, DOMAIN_CYCLES, DOMAINS_ALIVE, NVME_QUICK, NO_FAULTS, KMEMLEAK, VIOLATIONS],
    },
    Scenario {
        name: "domain-quota",
        summary: "a host that gives few domains",
        checks: &[DEVICES, GROUPS, DOMAIN_QUOTA, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "iova-exhausted",
        summary: "devices that reach few addresses are mapped until none is left (needs the attack module)",
        checks: &[DEVICES, GROUPS, IOVA_EXHAUSTED, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "turmoil",
        summary: "several processors: map, attach, I/O and removal at the same time",
        checks: &[DEVICES, GROUPS, TURMOIL, DMA_BENCHMARK, NVME_QUICK, VFIO_STALE, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "interleaved",
        summary: "the same on a host that lets hypercalls overtake one another",
        checks: &[DEVICES, GROUPS, TURMOIL, DMA_BENCHMARK, NVME_QUICK, VFIO_STALE, NO_FAULTS, VIOLATIONS, OVERTAKEN],
    },
];
