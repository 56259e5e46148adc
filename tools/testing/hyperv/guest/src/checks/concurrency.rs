// SPDX-License-Identifier: GPL-2.0
//! Everything at once, on as many processors as there are: nothing may be lost, and nothing left.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{anyhow, bail, Context as _, Result};
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::VFIO_STALE;
use crate::hotplug;
use crate::memory::{DmaBuffer, UserRange};
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, Witness, FROM_DEVICE};
use crate::{disk, dma_map_benchmark};

/// Threads that map and unmap in one address space.
const MAPPERS: usize = 4;
/// Pages of each one's buffer; also how far apart their ranges start, in steps of so many.
const PAGES: usize = 16;
/// Pages of each one's part of the address space.
const STRIDE: u64 = 1024;
/// Maps and unmaps of each thread per round of the others.
const MAPS_PER_ROUND: u64 = 20;

/// First page of a mapper's part of the address space.
fn part(mapper: usize) -> u64 {
    STRIDE * (mapper as u64 + 1)
}

/// Maps and unmaps stretches of different lengths; leaves the first page mapped.
fn map_and_unmap(session: &Session, mapper: usize, memory: [UserRange; PAGES], rounds: u64) -> Result<()> {
    let start = part(mapper);
    session.map_range(at(start), memory[0]).context("the page that stays")?;
    for round in 0..rounds {
        let pages = 1 + (round as usize + mapper) % PAGES;
        let page = start + PAGES as u64 * (1 + round % 8);
        let range = memory[pages - 1];
        session.map_range(at(page), range).with_context(|| format!("mapper {mapper}, round {round}"))?;
        session.unmap(at(page), pages).with_context(|| format!("mapper {mapper}, round {round}"))?;
    }
    Ok(())
}

fn attach_and_detach(function: &PciFunction, rounds: u64) -> Result<()> {
    for round in 0..rounds {
        let back_end = BackEnd::ALL[round as usize % BackEnd::ALL.len()];
        Session::open_by(function, back_end).with_context(|| format!("attach {round}"))?;
    }
    Ok(())
}

fn read_and_write(namespace: &Path, rounds: u64) -> Result<()> {
    for round in 0..rounds {
        disk::verify(namespace).with_context(|| format!("NVMe, round {round}"))?;
    }
    Ok(())
}

/// Not while the driver is at its probe: the kernel's NVMe driver loses its admin queue's memory then, and the DMA
/// debugging code complains about that one day.
fn come_and_go(minihv: Minihv, function: &PciFunction, devices: usize, rounds: u64) -> Result<()> {
    let mut function = function.clone();
    for round in 0..rounds {
        let bus = hotplug::withdraw(minihv, &function).with_context(|| format!("withdrawal {round}"))?;
        let offered = hotplug::offer(minihv, bus, 1).with_context(|| format!("offer {round}"))?;
        function = offered.into_iter().next().context("the bus is empty")?;
        pci::wait_for_devices(devices)?;
    }
    Ok(())
}

fn join(handle: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    handle.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Two edu, to map in and to attach, and an NVMe controller to be withdrawn: its driver, unlike virtio's, gives up
/// requests that are under way then.
fn cast(context: &Context<'_>) -> Result<[PciFunction; 3]> {
    let mut edus = context.functions.iter().filter(|f| f.id == pci::EDU);
    let (Some(mapped), Some(attached)) = (edus.next(), edus.next()) else { bail!("two edu are needed") };
    let controllers = context.nvme()?;
    let withdrawn = controllers.get(1).context("two NVMe controllers are needed")?;
    Ok([mapped, attached, withdrawn].map(Clone::clone))
}

/// Map and unmap, attach and detach, I/O, and the removal and return of a device, all at the same time; then what is
/// left must be what was left on purpose.
fn turmoil(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let (rounds, devices) = (context.options.rounds, context.options.devices);
    let [mapped, attached, withdrawn] = cast(context)?;
    let namespace = context.nvme()?[0].nvme_namespace()?;
    // As while nobody uses them.
    mapped.bind("vfio-pci")?;
    attached.bind("vfio-pci")?;
    let domains = minihv.counter(Counter::LiveDomains, 0)?;

    let session = Session::open_by(&mapped, BackEnd::Iommufd)?;
    let mut witness = Witness::new(context, mapped, session, DmaBuffer::new(MAPPERS * PAGES)?)?;
    let ranges = |mapper: usize| std::array::from_fn(|count| witness.buffer.range(mapper * PAGES, count + 1));
    thread::scope(|scope| -> Result<()> {
        let session = &witness.session;
        let mut threads = Vec::new();
        for mapper in 0..MAPPERS {
            let memory = ranges(mapper);
            threads.push(scope.spawn(move || map_and_unmap(session, mapper, memory, rounds * MAPS_PER_ROUND)));
        }
        threads.push(scope.spawn(|| attach_and_detach(&attached, rounds)));
        threads.push(scope.spawn(|| read_and_write(&namespace, rounds)));
        threads.push(scope.spawn(|| come_and_go(minihv, &withdrawn, devices, rounds)));
        // All of them, whatever the first one says: the scope waits for them anyway.
        let results: Vec<Result<()>> = threads.into_iter().map(join).collect();
        results.into_iter().collect()
    })?;
    context.functions = pci::wait_for_devices(devices)?;
    witness.faults.expect_none().context("during the turmoil")?;

    for mapper in 0..MAPPERS {
        let (page, first) = (mapper * PAGES, part(mapper));
        witness.round_trip(at(first), page, FROM_DEVICE ^ mapper as u8, "a page that stayed mapped")?;
        witness.blocked_write(at(first + PAGES as u64), page, "STALE TRANSLATION: a page that was unmapped last")?;
        witness.session.unmap(at(first), 1)?;
        witness.blocked_write(at(first), page, "STALE TRANSLATION: a page after its unmap")?;
        witness.buffer.expect(page + 1, 0, "a page that no DMA was for")?;
    }
    // Nothing of it is left in the table.
    let id = witness.function.logical_id().context("edu has no logical id")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    for page in (0..MAPPERS).flat_map(|mapper| part(mapper)..part(mapper) + STRIDE) {
        if let Some(leaf) = minihv.walk(domain, at(page))? {
            bail!("page {page} is still in the table: {:#x}", leaf.0);
        }
    }
    drop(witness);

    let left = minihv.counter(Counter::LiveDomains, 0)?;
    let devices = minihv.counter(Counter::AttachedDevices, 0)?;
    if (left, devices) != (domains, context.functions.len() as u64) {
        bail!("{left} domains and {devices} attached devices are left, not {domains} and all");
    }
    let maps = rounds * MAPS_PER_ROUND * MAPPERS as u64;
    Ok(Outcome::Pass(format!("{maps} unmaps, {rounds} rounds of attach, NVMe I/O and removal")))
}

const TURMOIL: Check = Check::new("everything-at-once", turmoil);

/// The kernel's own benchmark as a load: threads that map and unmap through the DMA API. Its times do not count.
fn benchmark(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    function.bind(dma_map_benchmark::DRIVER)?;
    let flushes = minihv.flush_calls()?;
    for pages in [1, PAGES as u32] {
        dma_map_benchmark::run(dma_map_benchmark::Load { threads: MAPPERS as u32, pages })?;
    }
    let flushes = minihv.flush_calls()? - flushes;
    function.unbind()?;
    if flushes == 0 {
        bail!("nothing was flushed");
    }
    if let Some(fault) = minihv.next_fault()? {
        bail!("a DMA fault happened: {fault:x?}");
    }
    Ok(Outcome::Pass(format!("{MAPPERS} threads, 1 and {PAGES} pages, {flushes} flushes")))
}

const DMA_BENCHMARK: Check = Check::new("dma-map-benchmark", benchmark);

/// The host let calls of several processors overtake one another: what came before was tried under that.
fn overtaken(context: &mut Context<'_>) -> Result<Outcome> {
    match context.minihv()?.counter(Counter::Overtakes, 0)? {
        0 => bail!("no hypercall was carried out while another processor's was held back"),
        count => Ok(Outcome::Pass(format!("{count} hypercalls came before one that was held back"))),
    }
}

const OVERTAKEN: Check = Check::new("hypercalls-overtook-one-another", overtaken);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
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
