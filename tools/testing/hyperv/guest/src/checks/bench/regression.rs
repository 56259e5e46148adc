// SPDX-License-Identifier: GPL-2.0
//! A few figures of the benchmark that are judged here: what must not become worse unseen.

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, EDU_TYPE};
use crate::instructions::{Binding, Figure, Module};
use crate::report::Outcome;
use hvprotocol::options::DomainMode;

/// Mappings that are tried: some of each kind.
const COMMANDS: [&str; 8] = [
    "dma pages=1 ops=1024",
    "dma pages=64 ops=1024",
    "dma pages=512 ops=256",
    "unaligned pages=3 ops=512",
    "unaligned pages=63 first=2048 ops=512",
    "unaligned pages=65 ops=512",
    "unaligned pages=100 ops=512",
    "unaligned pages=333 ops=256",
];
/// A hypercall flushes what so many deferred unmaps left.
const UNMAPS_PER_FLUSH: u64 = 250;
/// Flushed pages for 100 that had to be.
const FLUSHED_PERCENT: u64 = 110;

fn value(figures: &[Figure], name: &str) -> Result<u64> {
    let figure = figures.iter().find(|figure| figure.name.ends_with(name));
    Ok(figure.with_context(|| format!("the module does not tell {name}"))?.thousandths)
}

/// An unmap takes one hypercall in strict mode, whatever its size and alignment, and 250 of them one in deferred mode.
fn calls(context: &mut Context<'_>) -> Result<Outcome> {
    context.minihv()?;
    let module = Module::bind(Binding::DmaApi)?;
    let mut seen = Vec::new();
    for command in COMMANDS {
        let figures = module.run(command)?;
        let calls = value(&figures, "/calls")?;
        match context.options.mode {
            DomainMode::Strict => ensure!(calls == 1000, "{command}: {calls} hypercalls for 1000 unmaps"),
            DomainMode::Deferred => {
                ensure!(calls * UNMAPS_PER_FLUSH <= 1000, "{command}: {calls} hypercalls for 1000 unmaps")
            }
            mode => bail!("there is nothing to flush in mode {mode:?}"),
        }
        seen.push(calls);
    }
    Ok(Outcome::Pass(format!("hypercalls for 1000 unmaps: {seen:?}")))
}

const BENCH_CALLS: Check = Check::new("one-hypercall-an-unmap", calls);

/// Strict flushes cover little more than what was unmapped, with few descriptors.
fn precision(context: &mut Context<'_>) -> Result<Outcome> {
    context.minihv()?;
    let module = Module::bind(Binding::DmaApi)?;
    let (mut flushed, mut needed, mut most) = (0, 0, 0);
    for command in COMMANDS {
        let figures = module.run(command)?;
        let (covers, needs) = (value(&figures, "/flushed")?, value(&figures, "/needed")?);
        ensure!(covers >= needs, "{command}: {covers} thousandths of a page flushed, {needs} unmapped");
        flushed += covers;
        needed += needs;
        most = most.max(value(&figures, "/descriptors")?);
    }
    let seen = format!("{} pages flushed for {}, at most {} descriptors", flushed / 1000, needed / 1000, most / 1000);
    ensure!(flushed * 100 <= needed * FLUSHED_PERCENT, "{seen}");
    Ok(Outcome::Pass(seen))
}

const BENCH_PRECISION: Check = Check::new("flushes-are-precise", precision);

/// The driver's own part of a flush is no longer than the runner allows.
fn flush_path(context: &mut Context<'_>) -> Result<Outcome> {
    context.minihv()?;
    let figures = Module::bind(Binding::DmaApi)?.run("flush")?;
    let range = context.options.range_flush.context("hvtest.range-flush= is missing")?;
    let whole = context.options.whole_flush.context("hvtest.whole-flush= is missing")?;
    let mut seen = Vec::new();
    for (name, limit) in [("flush/iotlb-sync", range), ("flush/flush-all", whole)] {
        let instructions = value(&figures, name)?;
        ensure!(instructions <= limit * 1000, "{name}: {} instructions, at most {limit}", instructions.div_ceil(1000));
        seen.push(format!("{name} {} of {limit}", instructions.div_ceil(1000)));
    }
    Ok(Outcome::Pass(seen.join(", ")))
}

const BENCH_FLUSH_PATH: Check = Check::new("flush-path-is-short", flush_path);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
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
