// SPDX-License-Identifier: GPL-2.0
//! Hosts on which no flush works: the devices of a domain that cannot be flushed are blocked before an unmap returns.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::dma_map_benchmark;
use crate::edu::Length;
use crate::iommufd::Space;
use crate::memory::DmaBuffer;
use crate::minihv::{DeviceTranslation, Injection};
use crate::pci::{self, PciFunction};
use crate::processors::Undisturbed;
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};
use crate::witness::{at, Witness, CANARY, FROM_DEVICE};

/// No flush works: the device is blocked before an unmap returns, what is still mapped included.
fn flush_failure(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open(context, 2)?;
    for page in 0..2 {
        witness.session.map(at(70 + page), &witness.buffer, page as usize, 1)?;
        witness.round_trip(at(70 + page), page as usize, FROM_DEVICE, "before the unmap")?;
    }
    witness.session.unmap(at(70), 1)?;
    witness.blocked_write(at(70), 0, "STALE TRANSLATION: a page after its unmap")?;
    witness.blocked_write(at(71), 1, "a page of a domain that could not be flushed")?;
    // Nothing is left to be done for the domain: the next unmap tries to flush its page, and that is all.
    let Some(minihv) = context.minihv else {
        return Ok(Outcome::Pass("unmapped and mapped page, both blocked".to_owned()));
    };
    let calls = || -> Result<[u64; 3]> {
        let count = |call| minihv.calls(call);
        Ok([
            count(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?,
            count(CallCode::FLUSH_DEVICE_DOMAIN)?,
            count(CallCode::ATTACH_DEVICE_DOMAIN)? + count(CallCode::DETACH_DEVICE_DOMAIN)?,
        ])
    };
    let before = calls()?;
    witness.session.unmap(at(71), 1)?;
    let made: Vec<u64> = calls()?.iter().zip(before).map(|(after, before)| after - before).collect();
    ensure!(made == [1, 0, 0], "one more unmap of a domain that was given up made {made:?} calls");
    Ok(Outcome::Pass("unmapped and mapped page, both blocked; one call for the next".to_owned()))
}

const VFIO_FLUSH_FAILURE: Check = Check::new("vfio-failed-flush-blocks", flush_failure);

/// No flush works of a domain that two devices are in: both are blocked before an unmap returns.
fn flush_failure_of_two(context: &mut Context<'_>) -> Result<Outcome> {
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
    for call in [CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN] {
        minihv.inject(Injection::every(call))?;
    }
    let unmapped = space.iommufd.unmap(space.ioas, at(0), crate::memory::PAGE as u64);
    let translations = ids.iter().map(|&id| minihv.device_translation(id)).collect::<Result<Vec<_>>>()?;
    minihv.clear_injections()?;
    unmapped.context("unmap")?;
    ensure!(translations == [DeviceTranslation::Blocked; 2], "after the flush failed: {translations:?}");
    Ok(Outcome::Pass(format!("{} and {}", edus[0].address, edus[1].address)))
}

const FLUSH_FAILURE_OF_TWO: Check = Check::new("failed-flush-blocks-both-devices", flush_failure_of_two);

/// No flush works, and neither does anything that blocks a device: it is kept off the bus before an unmap returns.
fn unblockable(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut witness = Witness::open(context, 2)?;
    for page in 0..2 {
        witness.session.map(at(80 + page), &witness.buffer, page as usize, 1)?;
        witness.round_trip(at(80 + page), page as usize, FROM_DEVICE, "before the unmap")?;
    }
    let failing = [
        CallCode::FLUSH_DEVICE_DOMAIN_LIST,
        CallCode::FLUSH_DEVICE_DOMAIN,
        CallCode::ATTACH_DEVICE_DOMAIN,
        CallCode::DETACH_DEVICE_DOMAIN,
    ];
    for call in failing {
        minihv.inject(Injection::every(call))?;
    }
    // What the driver leaves to a work item comes too late: the caller may use the memory as soon as the unmap returns.
    let undisturbed = Undisturbed::new()?;
    witness.session.unmap(at(80), 1)?;
    witness.buffer.fill(0, CANARY);
    witness.edu.start_store(at(80), Length::PAGE);
    witness.edu.finish_awake()?;
    drop(undisturbed);
    witness.buffer.expect(0, CANARY, "STALE TRANSLATION: a page right after its unmap")?;
    // Nothing is reported either: what the device asks for does not get as far as the IOMMU.
    for (page, what) in ["STALE TRANSLATION: a page after its unmap", "a page of a domain that could not be flushed"]
        .into_iter()
        .enumerate()
    {
        witness.buffer.fill(page, CANARY);
        witness.edu.store(at(80 + page as u64))?;
        witness.buffer.expect(page, CANARY, what)?;
    }
    minihv.clear_injections()?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass("unmapped and mapped page, both out of reach".to_owned()))
}

const VFIO_UNBLOCKABLE: Check = Check::new("vfio-unblockable-is-kept-off-the-bus", unblockable);

/// No flush works: the flush queue of the DMA API finds out, and the device is blocked from then on.
fn deferred_flush_failure(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    let id = function.logical_id().context("edu has no logical id")?;
    function.bind(dma_map_benchmark::DRIVER)?;
    if minihv.device_translation(id)? == DeviceTranslation::Blocked {
        bail!("the device is blocked before anything was flushed");
    }
    dma_map_benchmark::run(dma_map_benchmark::Load { threads: 1, pages: 1 })?;
    if minihv.device_translation(id)? != DeviceTranslation::Blocked {
        bail!("nothing could be flushed, and the device is not blocked");
    }
    function.unbind()?;
    Ok(Outcome::Pass("unmapped until the queue was flushed, blocked".to_owned()))
}

const DEFERRED_FLUSH_FAILURE: Check = Check::new("deferred-failed-flush-blocks", deferred_flush_failure);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "failing-flush",
        summary: "a host on which no flush works",
        checks: &[DEVICES, GROUPS, VFIO_FLUSH_FAILURE],
    },
    Scenario {
        name: "failing-flush-and-block",
        summary: "a host on which neither flushing nor blocking works any more",
        checks: &[DEVICES, GROUPS, VFIO_UNBLOCKABLE],
    },
    Scenario {
        name: "failing-flush-of-two",
        summary: "two devices in one domain that cannot be flushed any more",
        checks: &[DEVICES, GROUPS, FLUSH_FAILURE_OF_TWO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "failing-deferred-flush",
        summary: "the same, where flushes are deferred",
        checks: &[DEVICES, GROUPS, DEFERRED_FLUSH_FAILURE],
    },
];
