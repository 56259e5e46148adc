// SPDX-License-Identifier: GPL-2.0
//! What caches may still hold of a domain, as minihv logs it from the changes of its table.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::minihv::{Effect, Injection, Minihv, Stale};
use crate::report::Outcome;
use crate::witness::{at, Witness};

/// Pages of the buffer: a table of the lowest level and a bit.
const PAGES: usize = 520;

fn domain(witness: &Witness, minihv: Minihv) -> Result<DomainId> {
    let id = witness.function.logical_id().context("edu has no logical id")?;
    minihv.device_domain(id)?.context("edu is in no domain")
}

/// Unmaps of many sizes, at both ends of tables: when one returns, caches hold nothing of it any more.
fn unmaps_leave_nothing(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv".to_owned())) };
    let witness = Witness::open(context, PAGES)?;
    let domain = domain(&witness, minihv)?;
    if minihv.stale(domain)?.is_none() {
        return Ok(Outcome::Skip("minihv does not log what caches hold".to_owned()));
    }
    // The last ones empty whole tables, which are freed then.
    let shapes = [(0, 1), (3, 2), (7, 3), (5, 9), (511, 2), (500, 33), (1, 511), (512, 512), (510, 515), (1024, 512)];
    for (first, count) in shapes {
        // Twice: an address that was not flushed is noticed when it is mapped again.
        for _ in 0..2 {
            witness.session.map(at(first), &witness.buffer, 0, count)?;
            witness.session.unmap(at(first), count)?;
            match minihv.stale(domain)?.context("minihv no longer logs what caches hold")? {
                Stale { pages: 0, tables: 0, .. } => {}
                stale => bail!("after an unmap of {count} pages at {:#x}: {stale:x?}", at(first).0),
            }
        }
    }
    Ok(Outcome::Pass(format!("{} sizes, twice", shapes.len())))
}

pub const CACHES_CLEAN: Check = Check::new("unmaps-leave-nothing-cached", unmaps_leave_nothing);

/// Has minihv do as if the driver made no flushes, until its injections are cleared.
///
/// # Errors
/// When minihv takes no more injections.
pub fn omit_flushes(minihv: Minihv) -> Result<()> {
    for call in [CallCode::FLUSH_DEVICE_DOMAIN, CallCode::FLUSH_DEVICE_DOMAIN_LIST] {
        let injection = Injection { status: Status::SUCCESS, ..Injection::every(call) };
        minihv.inject_effect(injection, Effect::Omitted, None)?;
    }
    Ok(())
}

/// A control: flushes are left out, and minihv notices each.
fn dropped_flushes_are_noticed(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let witness = Witness::open(context, 4)?;
    let domain = domain(&witness, minihv)?;
    let violations = || minihv.counter(Counter::Violations, 0);
    let before = violations()?;
    omit_flushes(minihv)?;
    witness.session.map(at(0), &witness.buffer, 0, 3)?;
    witness.session.unmap(at(0), 3)?;
    let stale = minihv.stale(domain)?.context("minihv does not log what caches hold")?;
    if (stale.pages, stale.first) != (3, at(0)) {
        bail!("3 pages at {:#x} were not flushed, but {stale:x?}", at(0).0);
    }
    if violations()? != before {
        bail!("a violation before the address is used again");
    }
    witness.session.map(at(1), &witness.buffer, 1, 1)?;
    if violations()? != before + 1 {
        bail!("an address was mapped again before its flush, and there is no violation");
    }
    witness.session.unmap(at(1), 1)?;
    // Two pages are left, and the one that was mapped again: the domain goes without any flush.
    drop(witness);
    let after = violations()?;
    minihv.clear_injections()?;
    if after != before + 2 {
        bail!("{} violations when the domain was deleted, not 1", after.saturating_sub(before + 1));
    }
    Ok(Outcome::Pass("when mapped again, and when the domain was deleted".to_owned()))
}

const CACHES_CONTROL: Check = Check::new("dropped-flushes-are-noticed", dropped_flushes_are_noticed);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "dropped-flushes",
    summary: "the driver drops flushes for a while; minihv's log of the caches must notice (the runner, too)",
    checks: &[DEVICES, GROUPS, CACHES_CONTROL],
}];
