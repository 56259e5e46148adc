// SPDX-License-Identifier: GPL-2.0
//! A host that says it may still attach a device, and has.

use anyhow::{bail, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::minihv::{Effect, Injection};
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, Witness, FROM_DEVICE};

/// A program cannot have the device, whose domain goes although the host had the device in it; the next program can. The
/// first attach of a program puts the device into the blocking domain, the second into the program's.
fn unclear_attach(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    for back_end in BackEnd::ALL {
        let second = Injection { first: 2, ..Injection::next(CallCode::ATTACH_DEVICE_DOMAIN) };
        minihv.inject_effect(second, Effect::Marked(Status::TIME_OUT.0.into()), None)?;
        if Session::open_by(&pci::find(pci::EDU)?, back_end).is_ok() {
            bail!("{back_end:?}: an attach that may still be carried out is a success");
        }
        minihv.clear_injections()?;
        let witness = Witness::open_by(context, back_end, 1)?;
        witness.session.map(at(1), &witness.buffer, 0, 1)?;
        witness.round_trip(at(1), 0, FROM_DEVICE, "the page of the next program")?;
    }
    Ok(Outcome::Pass("by two interfaces".to_owned()))
}

const UNCLEAR: Check = Check::new("unclear-attach-blocks", unclear_attach);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "unclear-attach",
    summary: "a host that attaches a device (edu) and says that its time was over",
    checks: &[DEVICES, GROUPS, UNCLEAR, NO_FAULTS, VIOLATIONS],
}];
