// SPDX-License-Identifier: GPL-2.0
//! The window of deferred flushes: an address that was unmapped is stale until the flush queue is flushed.
//!
//! edu carries out a transfer some 100 ms after it was started, longer than a flush is deferred. So the transfer is
//! started first, and the address is unmapped shortly before it happens.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use super::dma_api::Kernel;
use super::module::Flow;
use super::table;
use super::table::{Expected, Machine, Row, Seen};
use super::window::Arena;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::attack::dma_api::ATTACK_DMA_API;
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::debugfs;
use crate::edu::Length;
use crate::memory::PAGE;
use crate::processors::Pinned;
use crate::report::Outcome;

const AT: usize = 0x1_0000;
/// A page that is mapped and unmapped to fill the queue.
const OTHER_AT: usize = 0x2_0000;
/// How many unmaps a processor's flush queue takes (`IOVA_DEFAULT_FQ_SIZE`).
const QUEUE: usize = 256;
/// How often a transfer is tried before which the domain is to be flushed.
const TRIES: usize = 5;
/// How long before the transfer addresses are unmapped, in microseconds.
const LEADS: [u64; 14] = [1000, 2000, 3000, 4000, 6000, 8000, 9000, 10000, 12000, 14000, 17000, 20000, 30000, 50000];

/// What came of one transfer.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// From the end of the unmap to the end of the transfer.
    after: Duration,
    bytes: usize,
    fault: bool,
    /// Whether the transfer was still to come when the unmap was over.
    pending: bool,
    /// Whether the domain was seen flushed, after the unmap and before the transfer.
    flushed: bool,
}

/// How often the device's domain was flushed.
fn flushes(kernel: &Kernel) -> Result<u64> {
    let id = kernel.rig.function.logical_id().context("edu has no logical id")?;
    let lines = debugfs::domains()?;
    let line = lines.iter().find(|line| line.devices.values().any(|device| *device == id)).context("no such device")?;
    let counters = line.paging.context("the device is behind no table")?.counters;
    Ok(counters.lists + counters.wholes)
}

/// Starts a transfer, unmaps its address when `when` of its time is over, and watches.
fn sample(kernel: &mut Kernel, when: Duration) -> Result<Sample> {
    let function = kernel.rig.function.clone();
    let mapped = kernel.module.map(&function, AT, PAGE, Flow::Both)?;
    // The translation is cached from here on, and the buffer full.
    kernel.rig.edu.store_bytes(mapped.iova(), Length::new(8)?)?;
    kernel.rig.arm(&kernel.module, kernel.gate)?;
    kernel.module.window(AT..AT + PAGE).fill(0x11);
    kernel.rig.settle()?;
    let before = flushes(kernel)?;
    let start = Instant::now();
    kernel.rig.edu.start_store(mapped.iova(), Length::PAGE);
    while start.elapsed() < when {
        std::hint::spin_loop();
    }
    kernel.module.unmap(&mapped)?;
    let unmapped = Instant::now();
    let pending = kernel.rig.edu.is_busy();
    let mut flushed = false;
    // Reading the counter takes a moment: only where there is time.
    if when.is_zero() {
        while kernel.rig.edu.is_busy() && !flushed {
            flushed = flushes(kernel)? > before && kernel.rig.edu.is_busy();
        }
    }
    while kernel.rig.edu.is_busy() {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("edu does not finish its transfer");
        }
    }
    let after = unmapped.elapsed();
    let bytes = kernel.module.window(AT..AT + PAGE).count(|byte| byte != 0x11);
    Ok(Sample { after, bytes, fault: kernel.rig.fault()?, pending, flushed })
}

/// How long a transfer takes.
fn pace(kernel: &mut Kernel) -> Result<Duration> {
    kernel.rig.arm(&kernel.module, kernel.gate)?;
    let start = Instant::now();
    kernel.rig.edu.start_store(kernel.gate.iova, Length::PAGE);
    while kernel.rig.edu.is_busy() {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("edu does not finish its transfer");
        }
    }
    Ok(start.elapsed())
}

/// The device, and the samples so far.
struct Watch {
    kernel: Kernel,
    samples: Vec<Sample>,
}

fn table() -> Vec<Row<Watch>> {
    let stale = Row::new("deferred-window-stale", Expected::Reaches(PAGE), |watch: &mut Watch| {
        for lead in LEADS.into_iter().chain([500, 1000, 1500, 2500, 5000]) {
            let pace = pace(&mut watch.kernel)?;
            let sample = sample(&mut watch.kernel, pace.saturating_sub(Duration::from_micros(lead)))?;
            watch.samples.push(sample);
        }
        let stale: Vec<&Sample> = watch.samples.iter().filter(|sample| sample.pending && sample.bytes > 0).collect();
        let longest = stale.iter().map(|sample| sample.after.as_micros()).max().unwrap_or(0);
        let first = stale.first().context("no transfer came through an address that was unmapped")?;
        let note = format!("{} of {} transfers, up to {longest} us after", stale.len(), watch.samples.len());
        Ok(Seen::new(first.bytes, first.fault).noted(note))
    });
    let mut rows = vec![stale];
    for round in 1..=4 {
        let id = format!("deferred-after-flush-{round}");
        rows.push(Row::new(id, Expected::Blocked, |watch: &mut Watch| {
            let mut tries = 0;
            // On a slow machine the transfer may happen first, which shows nothing.
            let sample = loop {
                let one = sample(&mut watch.kernel, Duration::ZERO)?;
                watch.samples.push(one);
                if one.flushed {
                    break one;
                }
                tries += 1;
                ensure!(tries < TRIES, "no flush before the transfer, {tries} times");
            };
            Ok(Seen::new(sample.bytes, sample.fault).noted(format!("{} us after", sample.after.as_micros())))
        }));
    }
    for round in 1..=2 {
        let id = format!("deferred-window-ends-{round}");
        rows.push(Row::new(id, Expected::Blocked, |watch: &mut Watch| bounded(&mut watch.kernel)));
    }
    rows
}

/// The window is bounded by events, however slow the machine is: a processor's flush queue has room for [`QUEUE`] unmaps
/// and is flushed when it is full, or by a timer before that.
fn bounded(kernel: &mut Kernel) -> Result<Seen> {
    // Each processor has a queue of its own.
    let _here = Pinned::here()?;
    let function = kernel.rig.function.clone();
    let mapped = kernel.module.map(&function, AT, PAGE, Flow::Both)?;
    kernel.rig.edu.store_bytes(mapped.iova(), Length::new(8)?)?;
    kernel.rig.arm(&kernel.module, kernel.gate)?;
    kernel.module.window(AT..AT + PAGE).fill(0x11);
    kernel.rig.settle()?;
    let before = flushes(kernel)?;
    kernel.module.unmap(&mapped)?;
    let mut unmaps = 0;
    while flushes(kernel)? == before {
        ensure!(unmaps < QUEUE, "{unmaps} more unmaps, and no flush");
        let other = kernel.module.map(&function, OTHER_AT, PAGE, Flow::Both)?;
        kernel.module.unmap(&other)?;
        unmaps += 1;
    }
    kernel.rig.edu.store(mapped.iova())?;
    let bytes = kernel.module.window(AT..AT + PAGE).count(|byte| byte != 0x11);
    Ok(Seen::new(bytes, kernel.rig.fault()?).noted(format!("flushed after {unmaps} more unmaps")))
}

/// Tries the table, and prints the samples: microseconds from unmap to transfer, and what came of it.
fn attack(context: &mut Context<'_>, machine: Machine) -> Result<Outcome> {
    let mut watch = Watch { kernel: Kernel::open(context)?, samples: Vec::new() };
    let outcome = table::run(context, "attack-deferred-window", machine, &mut watch, &table());
    for sample in watch.samples.iter().filter(|sample| sample.pending) {
        let got = if sample.bytes > 0 { "reaches" } else { "blocked" };
        context.reporter.note(&format!("window {} {got}", sample.after.as_micros()));
    }
    outcome
}

const ATTACK_DEFERRED: Check = Check::new("attack-deferred-window", |c| attack(c, Machine::Protected));
const ATTACK_DEFERRED_BARE: Check = Check::new("attack-deferred-window", |c| attack(c, Machine::Unprotected));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "attack-deferred",
        summary: "attacks on mappings of the DMA API, flushes deferred, and the window that this opens",
        checks: &[DEVICES, GROUPS, ATTACK_DEFERRED, ATTACK_DMA_API, VIOLATIONS],
    },
    Scenario {
        name: "attack-deferred-bare",
        summary: "the rows of attack-deferred's window on a host where no flush has an effect: the window must not end",
        checks: &[DEVICES, GROUPS, ATTACK_DEFERRED_BARE],
    },
];
