// SPDX-License-Identifier: GPL-2.0
//! The benchmark. Its boots count instructions instead of time.

use super::checks::{
    BENCH_BOOT, BENCH_CALLS, BENCH_DMA, BENCH_DOMAINS, BENCH_FLUSHES, BENCH_FLUSH_PATH, BENCH_IOMMUFD, BENCH_KTIME,
    BENCH_LISTS, BENCH_PATTERNS, BENCH_PRECISION, BENCH_TABLES, BENCH_THREADS, BENCH_UNALIGNED, BENCH_VFIO, DEVICES,
    EDU_TYPE, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bench",
        summary: "what mappings, domains and flushes cost, in instructions (hvtest.measure= chooses some)",
        checks: &[
            DEVICES,
            EDU_TYPE,
            BENCH_KTIME,
            BENCH_DMA,
            BENCH_THREADS,
            BENCH_UNALIGNED,
            BENCH_LISTS,
            BENCH_PATTERNS,
            BENCH_FLUSHES,
            BENCH_TABLES,
            BENCH_DOMAINS,
            BENCH_IOMMUFD,
            BENCH_VFIO,
        ],
    },
    Scenario {
        name: "bench-boot",
        summary: "what it took to get the devices behind the IOMMU",
        checks: &[DEVICES, EDU_TYPE, BENCH_BOOT],
    },
    Scenario {
        name: "bench-light",
        summary: "what must not become worse unseen: hypercalls, flushed pages, the driver's part of a flush",
        checks: &[DEVICES, EDU_TYPE, BENCH_CALLS, BENCH_PRECISION, BENCH_FLUSH_PATH, VIOLATIONS],
    },
    Scenario {
        name: "bench-light-deferred",
        summary: "the same where flushes are deferred",
        checks: &[DEVICES, EDU_TYPE, BENCH_CALLS, BENCH_FLUSH_PATH, VIOLATIONS],
    },
];
