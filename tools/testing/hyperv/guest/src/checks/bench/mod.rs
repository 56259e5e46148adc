// SPDX-License-Identifier: GPL-2.0
//! The benchmark: each check measures one kind of thing and prints figures (tools/testing/hyperv/bench/README.md). What
//! is said of them is the runner's business.

automod::dir!(pub "src/checks/bench");

use linkme::distributed_slice;

use self::kernel::{
    BENCH_DMA, BENCH_DOMAINS, BENCH_FLUSHES, BENCH_KTIME, BENCH_LISTS, BENCH_PATTERNS, BENCH_TABLES, BENCH_THREADS,
    BENCH_UNALIGNED,
};
use self::user::{BENCH_IOMMUFD, BENCH_VFIO};
use crate::check::{Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, EDU_TYPE};

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
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
}];
