// SPDX-License-Identifier: GPL-2.0
//! The tracepoints tell what minihv counts, with the right numbers; the counters in debugfs do, too.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::announcement::ANNOUNCED;
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::observe::{domain_of, DEBUGFS_CAPABILITIES, DEBUGFS_DOMAINS, IOMMU_SYSFS};
use crate::checks::table::TABLE_EXACT;
use crate::debugfs::{self, Counters};
use crate::memory::PAGE;
use crate::minihv::{Injection, Minihv};
use crate::pci;
use crate::report::Outcome;
use crate::tracing::{Event, Flush, Form, Recording};
use crate::witness::{at, Witness};

/// What minihv has counted of what tracepoints tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Attach calls.
    attaches: u64,
    /// List flushes.
    lists: u64,
    /// Blocks of those that were done.
    descriptors: u64,
    /// Flushes of whole domains.
    wholes: u64,
}

impl Tally {
    fn of_minihv(minihv: Minihv) -> Result<Tally> {
        Ok(Tally {
            attaches: minihv.calls(CallCode::ATTACH_DEVICE_DOMAIN)?,
            lists: minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?,
            descriptors: minihv.counter(Counter::FlushDescriptors, 0)?,
            wholes: minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN)?,
        })
    }

    fn since(self, before: Tally) -> Tally {
        Tally {
            attaches: self.attaches - before.attaches,
            lists: self.lists - before.lists,
            descriptors: self.descriptors - before.descriptors,
            wholes: self.wholes - before.wholes,
        }
    }

    fn of_events(events: &[Event]) -> Tally {
        let mut tally = Tally::default();
        for event in events {
            match event {
                Event::Attach { .. } => tally.attaches += 1,
                Event::Block { how, .. } => tally.attaches += u64::from(how == "attached"),
                Event::Flush(Flush { form: Form::List, descriptors, status, .. }) => {
                    tally.lists += 1;
                    tally.descriptors += if *status == 0 { *descriptors } else { 0 };
                }
                Event::Flush(Flush { form: Form::Whole, .. }) => tally.wholes += 1,
                Event::HypercallFailed { code, .. } => {
                    tally.attaches += u64::from(*code == u64::from(CallCode::ATTACH_DEVICE_DOMAIN.0));
                }
            }
        }
        tally
    }
}

fn flush(domain: DomainId, form: Form, range: (u64, u64), descriptors: u64, status: u64) -> Event {
    Event::Flush(Flush { domain, form, range, descriptors, status })
}

/// The flush of `count` pages from `page` of the witness's window on, by this many blocks.
fn list(domain: DomainId, page: u64, count: u64, descriptors: u64, status: u64) -> Event {
    let first = at(page).0;
    flush(domain, Form::List, (first, first + count * PAGE as u64 - 1), descriptors, status)
}

/// The events that tell of one domain's flushes, and of failures.
fn flushes(events: &[Event], domain: DomainId) -> Vec<Event> {
    let is_wanted = |event: &&Event| match event {
        Event::Flush(flush) => flush.domain == domain,
        Event::HypercallFailed { .. } => true,
        Event::Attach { .. } | Event::Block { .. } => false,
    };
    events.iter().filter(is_wanted).cloned().collect()
}

fn counters(domain: DomainId) -> Result<Counters> {
    let line = debugfs::domain(domain)?.with_context(|| format!("domain {} has no line", domain.0))?;
    Ok(line.paging.with_context(|| format!("domain {} has no counters", domain.0))?.counters)
}

/// A device enters a domain, memory is unmapped, the device leaves: all is told, as often as minihv counted it.
fn sound(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Tally::of_minihv(minihv)?;
    let recording = Recording::start()?;
    let witness = Witness::open(context, 3)?;
    let (domain, address) = (domain_of(minihv, &witness)?, witness.function.address.clone());
    let id = witness.function.logical_id().context("edu has no logical id")?;
    witness.session.map(at(16), &witness.buffer, 0, 1)?;
    witness.session.map(at(33), &witness.buffer, 1, 2)?;
    witness.session.unmap(at(16), 1)?;
    witness.session.unmap(at(33), 2)?;
    let counted = counters(domain)?;
    drop(witness);
    let events = recording.finish()?;
    let told = Tally::of_events(&events);
    let done = Tally::of_minihv(minihv)?.since(before);
    ensure!(told == done, "told {told:?}, minihv counted {done:?}: {events:x?}");

    // The border between the two pages is one between blocks of two pages: it takes two blocks.
    // Before it is deleted, the domain is flushed as a whole.
    let last = flush(domain, Form::Whole, (0, u64::MAX), 0, 0);
    let expected = [list(domain, 16, 1, 1, 0), list(domain, 33, 2, 2, 0), last];
    let seen = flushes(&events, domain);
    ensure!(seen == expected, "the flushes of domain {} are {seen:x?}", domain.0);
    let known = Counters { lists: 2, descriptors: 3, wholes: 0, failures: 0 };
    ensure!(counted == known, "debugfs counts {counted:?} for two flushes");
    let blocked = Event::Block { name: address.clone(), device: id, how: "attached".to_owned() };
    ensure!(events.contains(&blocked), "no {blocked:x?} among {events:x?}");
    // Into the domain, and back to where the kernel has it without a user.
    let home = minihv.device_domain(id)?.context("edu is in no domain")?;
    let attached = [domain, home].map(|domain| Event::Attach { name: address.clone(), device: id, domain });
    let seen: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Attach { .. })).collect();
    ensure!(seen.iter().copied().eq(&attached), "attached were {seen:x?} instead of {attached:x?}");
    Ok(Outcome::Pass(format!("{} events, {done:?}", events.len())))
}

const TRACE: Check = Check::new("tracepoints-tell-what-happens", sound);

/// A list flush and an attach to the blocking domain fail: the failures are told, and what was done instead.
fn failing(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    function.bind("vfio-pci")?;
    let before = Tally::of_minihv(minihv)?;
    let recording = Recording::start()?;
    // The first attach is the one to the blocking domain, before user space gets the device.
    minihv.inject(Injection::next(CallCode::ATTACH_DEVICE_DOMAIN))?;
    let witness = Witness::open(context, 1)?;
    let domain = domain_of(minihv, &witness)?;
    witness.session.map(at(16), &witness.buffer, 0, 1)?;
    minihv.inject(Injection::next(CallCode::FLUSH_DEVICE_DOMAIN_LIST))?;
    witness.session.unmap(at(16), 1)?;
    minihv.clear_injections()?;
    let counted = counters(domain)?;
    let events = recording.finish()?;
    let told = Tally::of_events(&events);
    let done = Tally::of_minihv(minihv)?.since(before);
    ensure!(told == done, "told {told:?}, minihv counted {done:?}: {events:x?}");

    let status = u64::from(Status::OPERATION_FAILED.0);
    let failed = |call: CallCode| Event::HypercallFailed { code: call.0.into(), status };
    let expected = [
        failed(CallCode::ATTACH_DEVICE_DOMAIN),
        failed(CallCode::FLUSH_DEVICE_DOMAIN_LIST),
        list(domain, 16, 1, 1, status),
        flush(domain, Form::Whole, (0, u64::MAX), 0, 0),
    ];
    let seen = flushes(&events, domain);
    ensure!(seen == expected, "the failures and flushes are {seen:x?}");
    let known = Counters { lists: 1, descriptors: 1, wholes: 1, failures: 1 };
    ensure!(counted == known, "debugfs counts {counted:?} for a failing flush and the one instead");
    let how = events.iter().find_map(|event| match event {
        Event::Block { name, how, .. } if *name == function.address => Some(how.as_str()),
        _ => None,
    });
    match how {
        Some("detached") => Ok(Outcome::Pass(format!("{} events", events.len()))),
        other => bail!("the device that could not be attached to the blocking domain was {other:?}: {events:x?}"),
    }
}

const TRACE_FAILING: Check = Check::new("tracepoints-tell-failures", failing);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "observe",
        summary: "tracepoints and debugfs agree with minihv, sysfs and what was mapped",
        checks: &[
            DEVICES,
            GROUPS,
            ANNOUNCED,
            NVME_QUICK,
            IOMMU_SYSFS,
            DEBUGFS_CAPABILITIES,
            DEBUGFS_DOMAINS,
            TABLE_EXACT,
            TRACE,
            TRACE_FAILING,
            NO_FAULTS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "observe-trace",
        summary: "only the comparison of events and counts (the runner's test of the tests expects it to fail)",
        checks: &[DEVICES, GROUPS, TRACE],
    },
];
