// SPDX-License-Identifier: GPL-2.0
//! The hypervisor of a root partition does not unmap: entry and memory stay, and debugfs shows that.

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{DomainId, Iova};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::checks::root::{CLEAN, RECORDS};
use crate::memory::{DmaBuffer, HugePage};
use crate::minihv::{DeviceTranslation, Effect, Injection};
use crate::report::Outcome;
use crate::root_debugfs::{self, DomainLine};
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};

/// Pages that are to be unmapped.
const PAGES: usize = 3;
/// Pages that the hypervisor unmaps before it fails.
const DONE: u16 = 1;

fn line_of(domain: DomainId) -> Result<Option<DomainLine>> {
    Ok(root_debugfs::domains()?.into_iter().find(|line| line.id == domain.0))
}

/// edu in the hands of a program, and memory whose pages lie side by side, so that one call unmaps them. What VFIO could not
/// unmap stays pinned: each check takes a huge page of its own.
fn open(context: &Context<'_>) -> Result<Witness> {
    HugePage::TwoMiB.fill_pool(3)?;
    Witness::with_buffer(context, BackEnd::Type1, DmaBuffer::huge(HugePage::TwoMiB)?)
}

/// An unmap that does nothing, or only a part, leaves the rest: in the hypervisor's table, in the driver's record, and out of
/// the kernel's hands. The device is blocked before anybody could use that memory for something else.
fn failed_unmap(context: &mut Context<'_>, done: u16) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut witness = open(context)?;
    let id = witness.function.logical_id().context("edu has no id")?;
    witness.session.map(at(0), &witness.buffer, 0, PAGES)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "a page that is mapped")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    let (call, left) = (CallCode::UNMAP_DEVICE_GPA_PAGES, PAGES as u64 - u64::from(done));
    if done > 0 {
        minihv.inject_effect(Injection::next(call), Effect::Partial(done), Some(domain))?;
    }
    let rest = Injection { first: if done > 0 { 2 } else { 1 }, ..Injection::every(call) };
    minihv.inject_effect(rest, Effect::Answered, Some(domain))?;
    // Type 1 has no word for it.
    let _ = witness.session.unmap(at(0), PAGES);
    let after = line_of(domain)?.context("the domain is not in debugfs")?;
    context.reporter.note(&format!("{after:?}"));
    ensure!(after.state == "closed" && after.pages == left && after.stale == left && after.failures > 0, "{after:?}");
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "edu is {translation:?}");
    for page in 0..PAGES {
        let iova: Iova = at(page as u64);
        let leaf = minihv.walk(domain, iova)?;
        let stays = page >= usize::from(done);
        let is_there = leaf.is_some_and(|leaf| witness.buffer.physical(page).is_ok_and(|gpa| leaf.sends(iova, gpa)));
        ensure!(is_there == stays && leaf.is_some() == stays, "page {page}: the hypervisor has {leaf:x?}");
        witness.blocked_write(iova, page, "STALE TRANSLATION: a page whose unmap failed")?;
    }
    ensure!(witness.session.map(at(16), &witness.buffer, 0, 1).is_err(), "a domain that is closed takes mappings");
    minihv.clear_injections()?;
    witness.faults.expect_none()?;
    drop(witness);
    // With the domain, the hypervisor forgets what was mapped in it.
    let gone = line_of(domain)?;
    ensure!(gone.is_none(), "{gone:?} stays");
    Ok(Outcome::Pass(format!("{left} of {PAGES} pages in domain {}", domain.0)))
}

const NOTHING_UNMAPPED: Check = Check::new("root-failed-unmap-leaves-pages", |c| failed_unmap(c, 0));
const PART_UNMAPPED: Check = Check::new("root-partial-unmap-leaves-rest", |c| failed_unmap(c, DONE));

/// An unmap fails, and the hypervisor blocks the device by neither of the calls for that. The next unmap that fails blocks
/// it: its memory is used for something else as well.
fn stubborn_device(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut witness = open(context)?;
    let id = witness.function.logical_id().context("edu has no id")?;
    for page in 0..2 {
        witness.session.map(at(page), &witness.buffer, page as usize, 1)?;
    }
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    let unmaps_fail =
        || minihv.inject_effect(Injection::every(CallCode::UNMAP_DEVICE_GPA_PAGES), Effect::Answered, Some(domain));
    unmaps_fail()?;
    minihv.inject(Injection::every(CallCode::ATTACH_DEVICE_DOMAIN))?;
    minihv.inject(Injection::every(CallCode::DETACH_DEVICE_DOMAIN))?;
    let _ = witness.session.unmap(at(0), 1);
    ensure!(minihv.device_domain(id)? == Some(domain), "edu is out of its domain, though it cannot be blocked");
    ensure!(!witness.function.masters_bus()?, "edu is not blocked, and masters the bus");
    witness.function.set_bus_master()?;
    minihv.clear_injections()?;
    unmaps_fail()?;
    let _ = witness.session.unmap(at(1), 1);
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "edu is {translation:?} after an unmap that failed");
    witness.blocked_write(at(1), 1, "STALE TRANSLATION: a page whose unmap failed")?;
    minihv.clear_injections()?;
    witness.faults.expect_none()?;
    drop(witness);
    Ok(Outcome::Pass(format!("domain {}", domain.0)))
}

const STUBBORN: Check = Check::new("root-stubborn-device-is-tried-again", stubborn_device);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-stale",
    summary: "unmaps that fail: what stays mapped is shown, and no device reaches it",
    checks: &[
        DEVICES,
        GROUPS,
        NO_FAULTS,
        NOTHING_UNMAPPED,
        PART_UNMAPPED,
        STUBBORN,
        VFIO_MAPPED,
        VFIO_STALE,
        RECORDS,
        CLEAN,
        VIOLATIONS,
    ],
}];
