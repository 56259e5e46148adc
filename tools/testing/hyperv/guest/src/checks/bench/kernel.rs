// SPDX-License-Identifier: GPL-2.0
//! What the kernel module measures: the commands that it is given.

use anyhow::Result;

use super::measurement::{measurement, Where};
use crate::check::{Check, Context};
use crate::instructions::{Binding, Module};
use crate::processors::{self, Alone};
use crate::report::Outcome;

/// Sizes of mappings, in pages.
const PAGES: [u32; 5] = [1, 4, 16, 64, 512];
/// Odd ones.
const ODD: [u32; 7] = [3, 5, 7, 63, 65, 100, 333];
/// Numbers of threads, each on its own processor.
const THREADS: [u32; 2] = [2, 4];
/// Deferred unmaps that fill the flush queue.
const FLUSH_QUEUE: u32 = 255;
/// Half a page.
const HALF: u32 = 2048;

/// On one processor: others would add their own interrupts, now and then.
fn measure(
    context: &mut Context<'_>,
    name: &str,
    place: Where,
    binding: Binding,
    commands: Vec<String>,
) -> Result<Outcome> {
    measurement(context, name, place, |context| {
        let _alone = Alone::new()?;
        Module::bind(binding)?.report(context.reporter, commands)
    })
}

/// The method of the kernel's own benchmark. The buffer is filled each time: for the largest size, that is nearly all of
/// the work.
///
/// Full flush queues many times over: where in its queue a measurement begins and ends, and how often the
/// queue's timer comes in between, would show up otherwise.
fn ktime(context: &mut Context<'_>) -> Result<Outcome> {
    let commands = PAGES.map(|pages| {
        let ops = match pages {
            512 => 8 * FLUSH_QUEUE,
            64 => 64 * FLUSH_QUEUE,
            _ => 512 * FLUSH_QUEUE,
        };
        format!("ktime pages={pages} ops={ops}")
    });
    measure(context, "ktime", Where::Everywhere, Binding::DmaApi, commands.to_vec())
}

pub const BENCH_KTIME: Check = Check::new("bench-ktime", ktime);

fn dma_command(pages: u32, threads: u32) -> String {
    format!("dma pages={pages} threads={threads}")
}

/// Mappings by the DMA API, by several threads, as far as there are processors.
fn threads(context: &mut Context<'_>) -> Result<Outcome> {
    measurement(context, "threads", Where::Everywhere, |context| {
        let processors = processors::online()?.len();
        let threads: Vec<u32> = THREADS.into_iter().filter(|threads| *threads as usize <= processors).collect();
        let commands = PAGES.iter().flat_map(|pages| threads.iter().map(move |threads| dma_command(*pages, *threads)));
        Module::bind(Binding::DmaApi)?.report(context.reporter, commands)
    })
}

pub const BENCH_THREADS: Check = Check::new("bench-threads", threads);

/// Mappings by the DMA API, by one thread.
fn dma(context: &mut Context<'_>) -> Result<Outcome> {
    measure(context, "dma", Where::Everywhere, Binding::DmaApi, PAGES.map(|pages| dma_command(pages, 1)).to_vec())
}

pub const BENCH_DMA: Check = Check::new("bench-dma", dma);

/// Mappings that begin inside a page or whose size is no power of two.
fn unaligned(context: &mut Context<'_>) -> Result<Outcome> {
    let command = |first, pages| format!("unaligned first={first} pages={pages}");
    let commands = [0, HALF].into_iter().flat_map(|first| ODD.iter().map(move |pages| command(first, pages)));
    measure(context, "unaligned", Where::Everywhere, Binding::DmaApi, commands.collect())
}

pub const BENCH_UNALIGNED: Check = Check::new("bench-unaligned", unaligned);

/// Scatter-gather lists.
fn lists(context: &mut Context<'_>) -> Result<Outcome> {
    let commands =
        [(4, 1), (16, 1), (64, 1), (8, 16)].map(|(entries, pages)| format!("sg entries={entries} pages={pages}"));
    measure(context, "sg", Where::Everywhere, Binding::DmaApi, commands.to_vec())
}

pub const BENCH_LISTS: Check = Check::new("bench-sg", lists);

/// What NVMe and network drivers do.
fn patterns(context: &mut Context<'_>) -> Result<Outcome> {
    let commands = ["nvme entries=1", "nvme entries=32 ops=510", "nic"].map(str::to_owned);
    measure(context, "pattern", Where::Everywhere, Binding::DmaApi, commands.to_vec())
}

pub const BENCH_PATTERNS: Check = Check::new("bench-pattern", patterns);

/// The driver's own share of flushes.
fn flushes(context: &mut Context<'_>) -> Result<Outcome> {
    let commands = ["flush", "overhead"].map(str::to_owned);
    measure(context, "flush", Where::Minihv, Binding::DmaApi, commands.to_vec())
}

pub const BENCH_FLUSHES: Check = Check::new("bench-flush", flushes);

/// iommu_map() and iommu_unmap(): single leaves of the table, and ranges that no single block covers.
fn tables(context: &mut Context<'_>) -> Result<Outcome> {
    let leaves = ["iommu pages=512", "iommu pages=262144"].map(str::to_owned);
    let ranges = [(1, 3), (5, 7), (1, 64), (511, 333)];
    let ranges = ranges.map(|(first, pages)| format!("iommu-range first={first} pages={pages}"));
    measure(context, "iommu", Where::StrictIommu, Binding::Owner, leaves.into_iter().chain(ranges).collect())
}

pub const BENCH_TABLES: Check = Check::new("bench-iommu", tables);

/// Domains that come and go.
fn domains(context: &mut Context<'_>) -> Result<Outcome> {
    measure(context, "domain", Where::StrictIommu, Binding::Owner, vec!["domain".to_owned()])
}

pub const BENCH_DOMAINS: Check = Check::new("bench-domain", domains);
