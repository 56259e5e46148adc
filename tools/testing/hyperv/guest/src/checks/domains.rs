// SPDX-License-Identifier: GPL-2.0
//! Many domains: one after the other, and at once. All are made by iommufd for edu, with the mappings of one IOAS.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;
use nix::errno::Errno;

use super::leaks::{io_page_table_bytes, memory_info};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::checks::nvme::NVME_QUICK;
use crate::iommufd::{DeviceId, HwptId};
use crate::minihv::{Injection, Minihv};
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};

/// Each so many-th domain gets the device for a while.
const ATTACH_EVERY: u64 = 25;
/// Rounds before memory is measured, so that every cache and pool has grown to what it needs.
const WARM_UP: u64 = 50;
/// Most domains that live at once.
const ALIVE_MAX: u64 = 1000;
/// What memory may change by for reasons of its own: the allocators' pools.
const NOISE_BYTES: u64 = 8 << 20;
/// The same for the memory of page tables, to which the kernel's own DMA adds and from which it takes.
const TABLE_NOISE_BYTES: u64 = 64 << 10;

/// edu with iommufd, one page mapped in its IOAS, and what minihv counts.
struct Workshop {
    witness: Witness,
    device: DeviceId,
    minihv: Minihv,
    /// Domains that the device's own address space and the rest of the guest have.
    baseline: u64,
}

impl Workshop {
    fn open(context: &Context<'_>) -> Result<Workshop> {
        let minihv = context.minihv()?;
        let witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
        let device = witness.iommufd()?.0.id()?;
        witness.session.map(at(0), &witness.buffer, 0, 1)?;
        let baseline = minihv.counter(Counter::LiveDomains, 0)?;
        Ok(Workshop { witness, device, minihv, baseline })
    }

    fn make(&self) -> Result<HwptId, Errno> {
        let (_, space) = self.witness.iommufd().map_err(|_| Errno::ENODEV)?;
        space.iommufd.allocate_hwpt(self.device, space.ioas)
    }

    fn destroy(&self, hwpt: HwptId) -> Result<()> {
        self.witness.iommufd()?.1.iommufd.destroy_hwpt(hwpt).context("destroying a domain")
    }

    /// Puts the device into a domain; its number at the hypervisor.
    fn enter(&self, hwpt: HwptId) -> Result<DomainId> {
        self.witness.iommufd()?.0.attach_hwpt(hwpt).context("attaching to a domain")?;
        let id = self.witness.function.logical_id().context("edu has no logical id")?;
        let domain = self.minihv.device_domain(id)?.context("edu is in no domain")?;
        let leaf = self.minihv.walk(domain, at(0))?.with_context(|| format!("domain {} is empty", domain.0))?;
        if !leaf.sends(at(0), self.witness.buffer.physical(0)?) {
            bail!("domain {} sends the page to {:#x}", domain.0, leaf.address().0);
        }
        Ok(domain)
    }

    /// Puts the device back into its own domain.
    fn leave(&self) -> Result<()> {
        let (cdev, space) = self.witness.iommufd()?;
        cdev.attach(space.ioas).context("attaching to the first domain")
    }

    fn expect_alive(&self, count: u64, when: &str) -> Result<()> {
        let live = self.minihv.counter(Counter::LiveDomains, 0)?;
        if live != self.baseline + count {
            bail!("{when}: {live} domains live, expected {} + {count}", self.baseline);
        }
        Ok(())
    }
}

/// Domains come and go, one at a time: the numbers are used again, and nothing is left on either side.
fn cycles(context: &mut Context<'_>) -> Result<Outcome> {
    let rounds = context.options.rounds;
    let workshop = Workshop::open(context)?;
    let (mut tables, mut free) = (0, 0);
    let mut numbers = Vec::new();
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            (tables, free) = (io_page_table_bytes()?, memory_info("MemFree")?);
        }
        let hwpt = workshop.make().with_context(|| format!("domain {round}"))?;
        workshop.expect_alive(1, "after a create")?;
        if round % ATTACH_EVERY == 0 {
            let domain = workshop.enter(hwpt)?;
            workshop.leave()?;
            if !numbers.contains(&domain) {
                numbers.push(domain);
            }
        }
        workshop.destroy(hwpt)?;
        workshop.expect_alive(0, "after a delete")?;
    }
    if let [_, _, ..] = numbers[..] {
        bail!("a number that is free is not used again: {numbers:?}");
    }
    let tables_grown = io_page_table_bytes()?.saturating_sub(tables);
    if tables_grown > TABLE_NOISE_BYTES {
        bail!("{tables_grown} bytes more in page tables after {rounds} rounds");
    }
    let grown = free.saturating_sub(memory_info("MemFree")?);
    if grown > NOISE_BYTES {
        bail!("{grown} bytes less free after {rounds} rounds");
    }
    workshop.witness.round_trip(at(0), 0, FROM_DEVICE, "the page after it all")?;
    Ok(Outcome::Pass(format!(
        "{rounds} rounds, number {} each time, page tables +{tables_grown}, free memory -{grown} bytes",
        numbers.first().map_or(0, |domain| domain.0)
    )))
}

const DOMAIN_CYCLES: Check = Check::new("domains-come-and-go", cycles);

/// Many domains live at once, each with its own number and its own table; some go and others come meanwhile.
fn alive_at_once(context: &mut Context<'_>) -> Result<Outcome> {
    let count = (context.options.rounds / 3).min(ALIVE_MAX);
    let workshop = Workshop::open(context)?;
    let tables = io_page_table_bytes()?;
    let mut domains = Vec::new();
    for number in 1..=count {
        domains.push(workshop.make().with_context(|| format!("domain {number}"))?);
        // minihv refuses a number twice, so that as many numbers as domains are in use.
        workshop.expect_alive(number, "while they are made")?;
    }
    let mut numbers = Vec::new();
    for &hwpt in domains.iter().step_by(ATTACH_EVERY as usize) {
        numbers.push(workshop.enter(hwpt)?);
    }
    workshop.witness.round_trip(at(0), 0, FROM_DEVICE, "the page by the last domain")?;
    workshop.leave()?;
    numbers.sort();
    numbers.dedup();
    if numbers.len() != domains.iter().step_by(ATTACH_EVERY as usize).count() {
        bail!("domains share numbers: {numbers:?}");
    }
    let grown = io_page_table_bytes()?.saturating_sub(tables);
    // Each has a root of its own, and tables down to the mapped page.
    if grown < count * 4096 {
        bail!("{count} domains have {grown} bytes of page tables");
    }
    // Every second one goes; as many come, into the gaps.
    for hwpt in domains.iter_mut().step_by(2) {
        workshop.destroy(*hwpt)?;
        *hwpt = workshop.make().context("into a gap")?;
    }
    workshop.expect_alive(count, "after half of them were replaced")?;
    for hwpt in domains {
        workshop.destroy(hwpt)?;
    }
    workshop.expect_alive(0, "after all were deleted")?;
    let left = io_page_table_bytes()?.saturating_sub(tables);
    if left > TABLE_NOISE_BYTES {
        bail!("{left} bytes are left of {grown} in page tables");
    }
    Ok(Outcome::Pass(format!("{count} domains with {grown} bytes of page tables, {left} left")))
}

const DOMAINS_ALIVE: Check = Check::new("domains-alive-at-once", alive_at_once);

/// The host gives no more domains: the error is the documented one, what exists goes on working, and a domain that
/// goes makes room for another one.
fn quota(context: &mut Context<'_>) -> Result<Outcome> {
    const MANY: usize = 200;
    let workshop = Workshop::open(context)?;
    let mut domains = Vec::new();
    let errno = loop {
        match workshop.make() {
            Ok(hwpt) => domains.push(hwpt),
            Err(errno) => break errno,
        }
        if domains.len() > MANY {
            bail!("{MANY} domains, and the host gives more");
        }
    };
    if errno != Errno::EIO {
        bail!("the domain beyond the quota: {errno} instead of EIO");
    }
    let last = domains.pop().context("not one domain")?;
    workshop.expect_alive(domains.len() as u64 + 1, "at the quota")?;
    workshop.enter(last)?;
    workshop.witness.round_trip(at(0), 0, FROM_DEVICE, "the page at the quota")?;
    workshop.leave()?;
    workshop.destroy(last)?;
    domains.push(workshop.make().context("in place of a deleted one")?);
    let made = domains.len();
    for hwpt in domains {
        workshop.destroy(hwpt)?;
    }
    workshop.expect_alive(0, "after all were deleted")?;
    Ok(Outcome::Pass(format!("{made} domains, then {errno}")))
}

const DOMAIN_QUOTA: Check = Check::new("domains-beyond-quota", quota);

/// A domain that could not be flushed takes no device any more, whether the device comes from another domain or is blocked.
fn stale_is_refused(context: &mut Context<'_>) -> Result<Outcome> {
    let workshop = Workshop::open(context)?;
    let (cdev, _) = workshop.witness.iommufd()?;
    let stale = workshop.make().context("a domain")?;
    workshop.enter(stale)?;
    for call in [CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN] {
        workshop.minihv.inject(Injection::every(call))?;
    }
    let unmapped = workshop.witness.session.unmap(at(0), 1);
    workshop.minihv.clear_injections()?;
    unmapped.context("unmap")?;
    // Not where something is to be flushed yet.
    workshop.witness.session.map(at(1), &workshop.witness.buffer, 0, 1)?;
    let other = workshop.make().context("another domain")?;
    cdev.attach_hwpt(other).context("attaching to another domain")?;
    let from_other = cdev.attach_hwpt(stale);
    cdev.detach().context("detach")?;
    let from_nowhere = cdev.attach_hwpt(stale);
    if (from_other, from_nowhere) != (Err(Errno::ENODEV), Err(Errno::ENODEV)) {
        bail!("a domain that could not be flushed: {from_other:?} from another one, {from_nowhere:?} when blocked");
    }
    cdev.attach_hwpt(other).context("attaching to the other domain again")?;
    workshop.witness.round_trip(at(1), 0, FROM_DEVICE, "the page by a domain that works")?;
    Ok(Outcome::Pass("ENODEV twice".to_owned()))
}

const STALE_REFUSED: Check = Check::new("stale-domain-takes-no-device", stale_is_refused);

/// The number of a domain that is made now, and deleted.
fn lowest_number(workshop: &Workshop) -> Result<u32> {
    const NUMBERS: std::ops::Range<u32> = 1..1024;
    let alive = |number: &u32| workshop.minihv.domain_exists(DomainId(*number)).unwrap_or(false);
    let before: Vec<u32> = NUMBERS.filter(alive).collect();
    let hwpt = workshop.make().context("a domain that works")?;
    let new = NUMBERS.filter(alive).find(|number| !before.contains(number));
    workshop.destroy(hwpt)?;
    new.context("the new domain has no number")
}

/// The host creates, configures and then deletes no domain. Of the first two nothing is left; the tables of the last stay
/// allocated, as the host may still walk them, and their numbers are not tried again.
fn undeletable(context: &mut Context<'_>) -> Result<Outcome> {
    /// [`TABLE_NOISE_BYTES`] is half of the memory of so many tables of one page.
    const DOMAINS: u64 = 32;
    const ROOT_BYTES: u64 = 4096;
    let workshop = Workshop::open(context)?;
    let minihv = workshop.minihv;
    let fail = |call: CallCode| {
        // A rule that is used up still takes a place.
        minihv.clear_injections()?;
        // A domain that is not created under one number is tried with others.
        minihv.inject(match call {
            CallCode::CREATE_DEVICE_DOMAIN => Injection::every(call),
            _ => Injection::next(call),
        })
    };
    let number = lowest_number(&workshop)?;
    for _ in 0..WARM_UP {
        let hwpt = workshop.make().context("a domain before anything fails")?;
        workshop.destroy(hwpt)?;
    }
    let before = io_page_table_bytes()?;
    for code in [CallCode::CREATE_DEVICE_DOMAIN, CallCode::CONFIGURE_DEVICE_DOMAIN] {
        for _ in 0..DOMAINS {
            fail(code)?;
            match workshop.make() {
                Err(Errno::EIO) => {}
                other => bail!("{code} fails, and a new domain is {other:?}"),
            }
        }
        let grown = io_page_table_bytes()?.saturating_sub(before);
        if grown > TABLE_NOISE_BYTES {
            bail!("{grown} bytes of page tables are left of {DOMAINS} domains for which {code} failed");
        }
    }
    workshop.expect_alive(0, "after none was made")?;
    minihv.clear_injections()?;
    let next = lowest_number(&workshop)?;
    if next != number {
        bail!("numbers are lost with domains that were not created: {number} was the lowest one, now {next}");
    }

    let taken = || minihv.counter(Counter::Status, Status::KEY_ALREADY_EXISTS.0.into());
    let taken_before = taken()?;
    for _ in 0..DOMAINS {
        let hwpt = workshop.make().context("a domain that will not be deleted")?;
        fail(CallCode::DELETE_DEVICE_DOMAIN)?;
        workshop.destroy(hwpt)?;
    }
    workshop.expect_alive(DOMAINS, "after none was deleted")?;
    let kept = io_page_table_bytes()?.saturating_sub(before);
    if kept < DOMAINS * ROOT_BYTES {
        bail!("{kept} bytes of page tables are left of {DOMAINS} domains that the host has not deleted");
    }
    let hwpt = workshop.make().context("a domain after those")?;
    workshop.enter(hwpt)?;
    workshop.witness.round_trip(at(0), 0, FROM_DEVICE, "the page by a domain that works")?;
    workshop.leave()?;
    workshop.destroy(hwpt)?;
    let tried = taken()? - taken_before;
    if tried != 0 {
        bail!("{tried} numbers of domains that the host has not deleted were tried again");
    }
    Ok(Outcome::Pass(format!("{kept} bytes of page tables kept for {DOMAINS} domains")))
}

const UNDELETABLE: Check = Check::new("undeletable-domains-keep-their-tables", undeletable);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
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
        name: "stale-domain",
        summary: "a domain that could not be flushed, and a program that wants to use it again",
        checks: &[DEVICES, GROUPS, STALE_REFUSED, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "undeletable-domains",
        summary: "a host that deletes no domain, and creates and configures none for a while",
        checks: &[DEVICES, GROUPS, UNDELETABLE, NO_FAULTS, VIOLATIONS],
    },
];
