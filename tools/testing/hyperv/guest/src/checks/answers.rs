// SPDX-License-Identifier: GPL-2.0
//! Hosts that answer flushes with words that mean nothing, or carry lists out in portions.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;

use super::counters::{call, calls};
use crate::control::{Effect, Injection, Minihv};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{at, Bench, FROM_DEVICE};

/// Two pages that no single block covers: their flush is a list of two.
const FIRST: u64 = 33;
const PAGES: usize = 2;
const RESERVED: u64 = 0xf000_f000_ffff_0000;

/// Which call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    List,
    /// After the list flush has failed.
    Whole,
}

/// How a flush goes wrong, and the calls that the driver makes until the pages are out of the device's reach.
struct Answer {
    what: &'static str,
    target: Target,
    effect: Effect,
    status: Status,
    lists: u64,
    wholes: u64,
}

const fn list(what: &'static str, effect: Effect, lists: u64, wholes: u64) -> Answer {
    Answer { what, target: Target::List, effect, status: Status::SUCCESS, lists, wholes }
}

const ANSWERS: &[Answer] = &[
    list("success, no element done", Effect::Partial(0), 1, 1),
    list("a word of zeroes", Effect::Word(0), 1, 1),
    list("all ones", Effect::Word(u64::MAX), 1, 1),
    list("success, more elements done than there are", Effect::Word(3 << 32), 1, 1),
    list("success, as many elements done as a word can say", Effect::Word(0xfff << 32), 1, 1),
    list("success, reserved bits, no element done", Effect::Word(RESERVED), 1, 1),
    Answer { status: Status::TIME_OUT, ..list("a time-out after one element", Effect::Partial(1), 1, 1) },
    list("one element at a time, told", Effect::Slice(1), 2, 0),
    list("one element at a time, by the same instruction", Effect::Resume(1), 1, 0),
    list("reserved bits besides", Effect::Marked(RESERVED), 1, 0),
    Answer { target: Target::Whole, ..list("reserved bits besides, whole domain", Effect::Marked(RESERVED), 1, 1) },
    Answer { target: Target::Whole, ..list("a count, whole domain", Effect::Marked(0xfff << 32), 1, 1) },
];

impl Answer {
    fn inject(&self, minihv: Minihv, domain: DomainId) -> Result<()> {
        let injection =
            |call: CallCode, status: Status| Injection { call: call.0, status: status.0, first: 1, times: None };
        let call = match self.target {
            Target::List => CallCode::FLUSH_DEVICE_DOMAIN_LIST,
            Target::Whole => {
                let failing = injection(CallCode::FLUSH_DEVICE_DOMAIN_LIST, Status::OPERATION_FAILED);
                minihv.inject_effect(failing, Effect::Answered, Some(domain))?;
                CallCode::FLUSH_DEVICE_DOMAIN
            }
        };
        minihv.inject_effect(injection(call, self.status), self.effect, Some(domain))
    }
}

/// List flushes and whole flushes so far.
fn flushes(minihv: Minihv) -> Result<[u64; 2]> {
    Ok([calls(minihv, call::FLUSH_DEVICE_DOMAIN_LIST)?, calls(minihv, call::FLUSH_DEVICE_DOMAIN)?])
}

/// Maps both pages, lets the device use them, and unmaps them; returns the calls that the unmap took.
fn unmap(bench: &mut Bench, minihv: Minihv) -> Result<[u64; 2]> {
    bench.session.map(at(FIRST), &bench.buffer, 0, PAGES)?;
    for page in 0..PAGES {
        bench.round_trip(at(FIRST + page as u64), page, FROM_DEVICE, "the page while it was mapped")?;
    }
    let before = flushes(minihv)?;
    bench.session.unmap(at(FIRST), PAGES)?;
    let after = flushes(minihv)?;
    for page in 0..PAGES {
        bench.blocked_write(at(FIRST + page as u64), page, "STALE TRANSLATION: a page after its unmap")?;
    }
    Ok([after[0] - before[0], after[1] - before[1]])
}

/// Whatever a flush is answered, the pages are out of reach when the unmap returns, after a number of calls that is known.
pub fn odd_answers(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut bench = Bench::open(context, PAGES)?;
    let id = bench.function.logical_id().context("edu has no logical id")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    let sound = unmap(&mut bench, minihv).context("a sound host")?;
    if sound != [1, 0] {
        bail!("a sound host: {sound:?} calls, expected one list");
    }
    for answer in ANSWERS {
        answer.inject(minihv, domain)?;
        let made = unmap(&mut bench, minihv).context(answer.what)?;
        minihv.clear_injections()?;
        if made != [answer.lists, answer.wholes] {
            bail!(
                "{}: {} list and {} whole flushes, expected {} and {}",
                answer.what,
                made[0],
                made[1],
                answer.lists,
                answer.wholes
            );
        }
    }
    if unmap(&mut bench, minihv).context("a sound host again")? != sound {
        bail!("the host is sound again, and the driver does not notice");
    }
    bench.faults.expect_none()?;
    Ok(Outcome::Pass(format!("{} answers", ANSWERS.len())))
}
