// SPDX-License-Identifier: GPL-2.0
//! Hosts that answer flushes with words that mean nothing, or carry lists out in portions.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::minihv::{Effect, Injection, Minihv};
use crate::report::Outcome;
use crate::witness::{at, Witness, FROM_DEVICE};

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
        let call = match self.target {
            Target::List => CallCode::FLUSH_DEVICE_DOMAIN_LIST,
            Target::Whole => {
                let failing = Injection::every(CallCode::FLUSH_DEVICE_DOMAIN_LIST);
                minihv.inject_effect(failing, Effect::Answered, Some(domain))?;
                CallCode::FLUSH_DEVICE_DOMAIN
            }
        };
        let injection = Injection { status: self.status, ..Injection::every(call) };
        minihv.inject_effect(injection, self.effect, Some(domain))
    }
}

/// List flushes and whole flushes so far.
fn flushes(minihv: Minihv) -> Result<[u64; 2]> {
    Ok([minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?, minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN)?])
}

/// Maps both pages, lets the device use them, and unmaps them; returns the calls that the unmap took.
fn unmap(witness: &mut Witness, minihv: Minihv) -> Result<[u64; 2]> {
    witness.session.map(at(FIRST), &witness.buffer, 0, PAGES)?;
    for page in 0..PAGES {
        witness.round_trip(at(FIRST + page as u64), page, FROM_DEVICE, "the page while it was mapped")?;
    }
    let before = flushes(minihv)?;
    witness.session.unmap(at(FIRST), PAGES)?;
    let after = flushes(minihv)?;
    for page in 0..PAGES {
        witness.blocked_write(at(FIRST + page as u64), page, "STALE TRANSLATION: a page after its unmap")?;
    }
    Ok([after[0] - before[0], after[1] - before[1]])
}

/// Whatever a flush is answered, the pages are out of reach when the unmap returns, after a number of calls that is known.
fn odd_answers(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut witness = Witness::open(context, PAGES)?;
    let id = witness.function.logical_id().context("edu has no logical id")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    let sound = unmap(&mut witness, minihv).context("a sound host")?;
    if sound != [1, 0] {
        bail!("a sound host: {sound:?} calls, expected one list");
    }
    for answer in ANSWERS {
        answer.inject(minihv, domain)?;
        let made = unmap(&mut witness, minihv).context(answer.what)?;
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
    if unmap(&mut witness, minihv).context("a sound host again")? != sound {
        bail!("the host is sound again, and the driver does not notice");
    }
    witness.faults.expect_none()?;
    Ok(Outcome::Pass(format!("{} answers", ANSWERS.len())))
}

const ODD_ANSWERS: Check = Check::new("odd-answers-to-flushes", odd_answers);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "odd-answers",
    summary: "a host that answers flushes with words that mean nothing, or carries lists out in portions",
    checks: &[DEVICES, GROUPS, ODD_ANSWERS, NO_FAULTS, VIOLATIONS],
}];
