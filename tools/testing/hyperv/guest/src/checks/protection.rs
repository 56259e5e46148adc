// SPDX-License-Identifier: GPL-2.0
//! DMA protection, tried with edu: what is mapped works, what is not does not, and is reported.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::control::Counter;
use hvcore::ids::Iova;
use hvcore::status::Status;

use crate::checks::counters::call;
use crate::control::{DeviceTranslation, Injection};
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::{Access, Faults};
use crate::iommufd::Space;
use crate::memory::DmaBuffer;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{at, base, Bench, CANARY, FROM_DEVICE, OTHER, SECRET};
use crate::vfio::{BackEnd, UnsafeInterrupts};

/// Mapped addresses work in both directions.
pub fn mapped(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut bench = Bench::open_by(context, back_end, 3)?;
    bench.session.map(at(0), &bench.buffer, 0, 3)?;
    for page in 0..3 {
        bench.round_trip(at(page as u64), page, FROM_DEVICE ^ page as u8, "the page that the device wrote")?;
    }
    bench.faults.expect_none()?;
    Ok(Outcome::Pass(format!("IOVA {:#x}, 3 pages", base())))
}

/// Addresses that were never mapped are out of reach: neighbours of a mapping, and the memory's physical address.
pub fn unmapped(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut bench = Bench::open_by(context, back_end, 3)?;
    bench.session.map(at(8), &bench.buffer, 0, 1)?;
    let physical = bench.buffer.physical(1)?;
    for iova in [at(9), at(7), Iova(physical.0)] {
        bench.arm(at(8), 0, FROM_DEVICE)?;
        bench.blocked_write(iova, 1, "a page that is not mapped")?;
        bench.blocked_read(iova, 1, at(8), 0)?;
    }
    bench.faults.expect_none()?;
    Ok(Outcome::Pass("3 addresses, read and write, 6 faults reported".to_owned()))
}

/// A translation that the device has used is gone as soon as it is unmapped.
pub fn stale(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut bench = Bench::open_by(context, back_end, 3)?;
    // Sizes that need descriptors of different reach; every page is warmed and tried.
    for (first, count) in [(16, 1), (33, 2)] {
        bench.session.map(at(first), &bench.buffer, 0, count)?;
        for page in 0..count {
            bench.round_trip(at(first + page as u64), page, FROM_DEVICE, "the page while it was mapped")?;
        }
        bench.session.unmap(at(first), count)?;
        for page in 0..count {
            bench.blocked_write(at(first + page as u64), page, "STALE TRANSLATION: a page after its unmap")?;
        }
    }
    Ok(Outcome::Pass("1 and 2 pages, warmed, unmapped, blocked".to_owned()))
}

/// The same address mapped to other memory reaches the new memory only.
pub fn remap(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut bench = Bench::open_by(context, back_end, 2)?;
    bench.session.map(at(40), &bench.buffer, 0, 1)?;
    bench.round_trip(at(40), 0, OTHER, "the first page")?;
    bench.session.unmap(at(40), 1)?;
    bench.session.map(at(40), &bench.buffer, 1, 1)?;
    bench.buffer.fill(0, CANARY);
    bench.buffer.fill(1, 0);
    bench.edu.store(at(40))?;
    bench.buffer.expect(0, CANARY, "STALE TRANSLATION: the old page after the remap")?;
    bench.buffer.expect(1, OTHER, "the new page")?;
    bench.faults.expect_none()?;
    Ok(Outcome::Pass(String::new()))
}

/// Unmapping one page leaves the ones on both sides usable.
pub fn neighbour(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut bench = Bench::open_by(context, back_end, 3)?;
    for page in 0..3 {
        bench.session.map(at(50 + page), &bench.buffer, page as usize, 1)?;
    }
    for page in 0..3 {
        bench.round_trip(at(50 + page as u64), page, OTHER, "before the unmap")?;
    }
    bench.session.unmap(at(51), 1)?;
    bench.round_trip(at(50), 0, FROM_DEVICE, "the page below the unmapped one")?;
    bench.round_trip(at(52), 2, SECRET, "the page above the unmapped one")?;
    bench.blocked_write(at(51), 1, "STALE TRANSLATION: the unmapped page")?;
    bench.faults.expect_none()?;
    Ok(Outcome::Pass(String::new()))
}

/// No flush works: the device is blocked before an unmap returns, what is still mapped included.
pub fn flush_failure(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bench = Bench::open(context, 2)?;
    for page in 0..2 {
        bench.session.map(at(70 + page), &bench.buffer, page as usize, 1)?;
        bench.round_trip(at(70 + page), page as usize, FROM_DEVICE, "before the unmap")?;
    }
    bench.session.unmap(at(70), 1)?;
    bench.blocked_write(at(70), 0, "STALE TRANSLATION: a page after its unmap")?;
    bench.blocked_write(at(71), 1, "a page of a domain that could not be flushed")?;
    // Nothing is left to be done for the domain: the next unmap tries to flush its page, and that is all.
    let Some(minihv) = context.minihv else {
        return Ok(Outcome::Pass("unmapped and mapped page, both blocked".to_owned()));
    };
    let calls = || -> Result<[u64; 3]> {
        let count = |code| minihv.counter(Counter::Calls, code);
        Ok([
            count(call::FLUSH_DEVICE_DOMAIN_LIST)?,
            count(call::FLUSH_DEVICE_DOMAIN)?,
            count(call::ATTACH_DEVICE_DOMAIN)? + count(call::DETACH_DEVICE_DOMAIN)?,
        ])
    };
    let before = calls()?;
    bench.session.unmap(at(71), 1)?;
    let made: Vec<u64> = calls()?.iter().zip(before).map(|(after, before)| after - before).collect();
    ensure!(made == [1, 0, 0], "one more unmap of a domain that was given up made {made:?} calls");
    Ok(Outcome::Pass("unmapped and mapped page, both blocked; one call for the next".to_owned()))
}

/// No flush works of a domain that two devices are in: both are blocked before an unmap returns.
pub fn flush_failure_of_two(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let edus: Vec<PciFunction> = pci::all()?.into_iter().filter(|function| function.id == pci::EDU).collect();
    ensure!(edus.len() == 2, "{} devices instead of 2", edus.len());
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let (space, buffer) = (Space::new()?, DmaBuffer::new(1)?);
    let (mut open, mut ids) = (Vec::new(), Vec::new());
    for function in &edus {
        function.bind("vfio-pci")?;
        open.push(space.take(function)?);
        ids.push(function.logical_id().with_context(|| format!("{} has no logical id", function.address))?);
    }
    let domains = [minihv.device_domain(ids[0])?, minihv.device_domain(ids[1])?];
    ensure!(domains[0].is_some() && domains[0] == domains[1], "the devices are in {domains:?}");
    space.iommufd.map(space.ioas, at(0), buffer.range(0, 1)).context("map")?;
    for code in [call::FLUSH_DEVICE_DOMAIN_LIST, call::FLUSH_DEVICE_DOMAIN] {
        let (call, status) = (u16::try_from(code)?, Status::OPERATION_FAILED.0);
        minihv.inject(Injection { call, status, first: 1, times: None })?;
    }
    let unmapped = space.iommufd.unmap(space.ioas, at(0), crate::memory::PAGE as u64);
    let translations = ids.iter().map(|&id| minihv.device_translation(id)).collect::<Result<Vec<_>>>()?;
    minihv.clear_injections()?;
    unmapped.context("unmap")?;
    ensure!(translations == [DeviceTranslation::Blocked; 2], "after the flush failed: {translations:?}");
    Ok(Outcome::Pass(format!("{} and {}", edus[0].address, edus[1].address)))
}

/// No flush works, and neither does anything that blocks a device: it is kept off the bus before an unmap returns.
pub fn unblockable(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut bench = Bench::open(context, 2)?;
    for page in 0..2 {
        bench.session.map(at(80 + page), &bench.buffer, page as usize, 1)?;
        bench.round_trip(at(80 + page), page as usize, FROM_DEVICE, "before the unmap")?;
    }
    let failing = [
        call::FLUSH_DEVICE_DOMAIN_LIST,
        call::FLUSH_DEVICE_DOMAIN,
        call::ATTACH_DEVICE_DOMAIN,
        call::DETACH_DEVICE_DOMAIN,
    ];
    for code in failing {
        let status = Status::OPERATION_FAILED.0;
        minihv.inject(Injection { call: u16::try_from(code)?, status, first: 1, times: None })?;
    }
    bench.session.unmap(at(80), 1)?;
    // Nothing is reported either: what the device asks for does not get as far as the IOMMU.
    for (page, what) in ["STALE TRANSLATION: a page after its unmap", "a page of a domain that could not be flushed"]
        .into_iter()
        .enumerate()
    {
        bench.buffer.fill(page, CANARY);
        bench.edu.store(at(80 + page as u64))?;
        bench.buffer.expect(page, CANARY, what)?;
    }
    minihv.clear_injections()?;
    bench.faults.expect_none()?;
    Ok(Outcome::Pass("unmapped and mapped page, both out of reach".to_owned()))
}

/// The table that the hypervisor was given holds the pages' physical addresses, which are not the IOVAs.
pub fn table_walk(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv to walk the table".to_owned())) };
    let bench = Bench::open(context, 2)?;
    let id = bench.function.logical_id().context("edu has no logical id")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    bench.session.map(at(60), &bench.buffer, 0, 2)?;
    for page in 0..2 {
        let (iova, physical) = (at(60 + page as u64), bench.buffer.physical(page)?);
        let leaf = minihv.walk(domain, iova)?.with_context(|| format!("{:#x} is not in the table", iova.0))?;
        if !leaf.sends(iova, physical) {
            bail!("{:#x}: the table says {:#x}, the page is at {:#x}", iova.0, leaf.0, physical.0);
        }
        context.reporter.note(&format!("IOVA {:#x} -> physical {:#x} (domain {})", iova.0, physical.0, domain.0));
    }
    bench.session.unmap(at(60), 2)?;
    for page in 60..62 {
        if let Some(leaf) = minihv.walk(domain, at(page))? {
            bail!("{:#x} is still in the table after its unmap: {:#x}", at(page).0, leaf.0);
        }
    }
    Ok(Outcome::Pass(String::new()))
}

/// Without VFIO: in its default domain, where nothing is mapped, the device reaches no memory.
pub fn raw_unmapped(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    function.unbind()?;
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let mut faults = Faults::listen(context.minihv)?;
    let buffer = DmaBuffer::new(1)?;
    let physical = Iova(buffer.physical(0)?.0);
    for iova in [physical, at(0)] {
        buffer.fill(0, CANARY);
        faults.prepare();
        edu.load(iova)?;
        faults.expect(&function, iova, Access::Read)?;
        faults.prepare();
        edu.store(iova)?;
        faults.expect(&function, iova, Access::Write)?;
        buffer.expect(0, CANARY, "memory that was never mapped for the device")?;
    }
    faults.expect_none()?;
    Ok(Outcome::Pass("physical and unused address, read and write, 4 faults reported".to_owned()))
}
