// SPDX-License-Identifier: GPL-2.0
//! Each call of the root partition's IOMMU goes wrong while a program has a device: what the program is told, where the
//! device is then, and that the next program finds all in order.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::memory_info;
use crate::memory::PAGE;
use crate::minihv::{DeviceTranslation, Effect, Injection, Minihv};
use crate::report::Outcome;
use crate::root_debugfs;
use crate::witness::{at, Witness, FROM_DEVICE};

const REFUSED: Status = Status::OPERATION_FAILED;
const LATE: Status = Status(0x78);
const NO_MEMORY: Status = Status::INSUFFICIENT_MEMORY;

/// What a program notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notices {
    /// Nothing.
    Nothing,
    /// It cannot have the device.
    NoDevice,
    /// It cannot map; once more, it can.
    NoMapping,
    /// Its device reaches nothing any more.
    Blocked,
}

/// One way in which calls go wrong.
struct Row {
    injections: &'static [(Injection, Effect)],
    notices: Notices,
}

const fn fails(call: CallCode, status: Status, first: u16, times: Option<u16>) -> (Injection, Effect) {
    (Injection { call, status, first, times }, Effect::Answered)
}

const CREATE: CallCode = CallCode::CREATE_DEVICE_DOMAIN;
const ATTACH: CallCode = CallCode::ATTACH_DEVICE_DOMAIN;
const MAP: CallCode = CallCode::MAP_DEVICE_GPA_PAGES;
const UNMAP: CallCode = CallCode::UNMAP_DEVICE_GPA_PAGES;
const DELETE: CallCode = CallCode::DELETE_DEVICE_DOMAIN;
const DEPOSIT: CallCode = CallCode::DEPOSIT_MEMORY;

/// The first attach blocks the device, before the program has it; the second one is to the program's domain.
const ROWS: &[Row] = &[
    // Another number is tried.
    Row { injections: &[fails(CREATE, REFUSED, 1, Some(1))], notices: Notices::Nothing },
    Row { injections: &[fails(CREATE, REFUSED, 1, None)], notices: Notices::NoDevice },
    Row { injections: &[fails(CREATE, NO_MEMORY, 1, Some(3))], notices: Notices::Nothing },
    Row { injections: &[fails(CREATE, NO_MEMORY, 1, None)], notices: Notices::NoDevice },
    // It is detached instead.
    Row { injections: &[fails(ATTACH, REFUSED, 1, Some(1))], notices: Notices::Nothing },
    Row { injections: &[fails(ATTACH, REFUSED, 2, Some(1))], notices: Notices::NoDevice },
    Row { injections: &[fails(ATTACH, LATE, 2, Some(1))], notices: Notices::NoDevice },
    Row { injections: &[fails(ATTACH, NO_MEMORY, 2, Some(2))], notices: Notices::Nothing },
    Row { injections: &[fails(MAP, REFUSED, 1, Some(1))], notices: Notices::NoMapping },
    Row { injections: &[fails(MAP, NO_MEMORY, 1, Some(3))], notices: Notices::Nothing },
    Row {
        injections: &[fails(MAP, NO_MEMORY, 1, Some(1)), fails(DEPOSIT, REFUSED, 1, Some(1))],
        notices: Notices::NoMapping,
    },
    Row {
        injections: &[(Injection { call: MAP, status: REFUSED, first: 1, times: Some(1) }, Effect::Partial(1))],
        notices: Notices::NoMapping,
    },
    Row {
        injections: &[(Injection { call: MAP, status: REFUSED, first: 1, times: None }, Effect::Slice(1))],
        notices: Notices::Nothing,
    },
    // More may have been mapped than was said.
    Row { injections: &[fails(MAP, LATE, 1, Some(1))], notices: Notices::Blocked },
    // VFIO tries again, in vain for the domain.
    Row { injections: &[fails(UNMAP, REFUSED, 1, Some(1))], notices: Notices::Blocked },
    Row { injections: &[fails(UNMAP, NO_MEMORY, 1, Some(2))], notices: Notices::Nothing },
    Row {
        injections: &[(Injection { call: UNMAP, status: REFUSED, first: 1, times: None }, Effect::Slice(1))],
        notices: Notices::Nothing,
    },
    Row { injections: &[fails(DELETE, REFUSED, 1, Some(1))], notices: Notices::Nothing },
];

/// What happens to a program.
fn program(context: &Context<'_>, minihv: Minihv) -> Result<Notices> {
    let Ok(mut witness) = Witness::open(context, 3) else { return Ok(Notices::NoDevice) };
    let id = witness.function.logical_id().context("edu has no id")?;
    let mut notices = Notices::Nothing;
    if witness.session.map(at(0), &witness.buffer, 0, 3).is_err() {
        if minihv.device_translation(id)? == DeviceTranslation::Blocked {
            return Ok(Notices::Blocked);
        }
        // Nothing of it was left behind.
        for page in 0..3 {
            witness.blocked_write(at(page as u64), page, "a page that could not be mapped")?;
        }
        witness.session.map(at(0), &witness.buffer, 0, 3).context("mapping once more")?;
        notices = Notices::NoMapping;
    }
    for page in 0..3 {
        witness.round_trip(at(page as u64), page, FROM_DEVICE, "a page that is mapped")?;
    }
    witness.session.unmap(at(0), 3)?;
    for page in 0..3 {
        witness.blocked_write(at(page as u64), page, "STALE TRANSLATION: a page after its unmap")?;
    }
    if minihv.device_translation(id)? == DeviceTranslation::Blocked {
        if witness.session.map(at(16), &witness.buffer, 0, 1).is_ok() {
            bail!("a domain that is closed takes mappings");
        }
        notices = Notices::Blocked;
    }
    witness.faults.expect_none()?;
    Ok(notices)
}

fn matrix(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    for (number, row) in ROWS.iter().enumerate() {
        for (injection, effect) in row.injections {
            minihv.inject_effect(*injection, *effect, None)?;
        }
        let noticed = program(context, minihv);
        minihv.clear_injections()?;
        let what = || format!("row {number}: {:x?}", row.injections);
        let noticed = noticed.with_context(what)?;
        if noticed != row.notices {
            bail!("{}: a program notices {noticed:?}, not {:?}", what(), row.notices);
        }
        let next = program(context, minihv).with_context(|| format!("after {}", what()))?;
        if next != Notices::Nothing {
            bail!("after {}: the next program notices {next:?}", what());
        }
        context.reporter.note(&format!("{}: {noticed:?}", what()));
    }
    Ok(Outcome::Pass(format!("{} rows", ROWS.len())))
}

const MATRIX: Check = Check::new("root-matrix", matrix);

/// The hypervisor takes none of the pages that it is offered: the kernel still has them all.
fn refused_deposits(context: &mut Context<'_>) -> Result<Outcome> {
    const TIMES: u64 = 256;
    /// What the driver offers at a time.
    const OFFERED: u64 = 32 * PAGE as u64;
    let minihv = context.minihv()?;
    let witness = Witness::open(context, 1)?;
    let refuse = || -> Result<()> {
        for (injection, effect) in [fails(MAP, NO_MEMORY, 1, Some(1)), fails(DEPOSIT, REFUSED, 1, Some(1))] {
            minihv.inject_effect(injection, effect, None)?;
        }
        let mapped = witness.session.map(at(0), &witness.buffer, 0, 1);
        minihv.clear_injections()?;
        ensure!(mapped.is_err(), "a page is mapped without the memory that the hypervisor wants");
        Ok(())
    };
    refuse()?;
    let (calls, free) = (minihv.calls(DEPOSIT)?, memory_info("MemFree")?);
    for _ in 0..TIMES {
        refuse()?;
    }
    let (calls, lost) = (minihv.calls(DEPOSIT)? - calls, free.saturating_sub(memory_info("MemFree")?));
    ensure!(calls == TIMES, "{calls} deposits instead of {TIMES}");
    // The kernel uses some memory of its own meanwhile.
    ensure!(lost < TIMES * OFFERED / 4, "{lost} bytes are lost by {TIMES} deposits that were refused");
    Ok(Outcome::Pass(format!("{TIMES} times, free memory -{lost} bytes")))
}

const REFUSED_DEPOSITS: Check = Check::new("root-refused-pages-are-kept", refused_deposits);

/// One domain could not be deleted: it is still there to be seen, and its number is no other's.
fn left_behind(context: &mut Context<'_>) -> Result<Outcome> {
    let retired: Vec<_> = root_debugfs::domains()?.into_iter().filter(|line| line.state == "retired").collect();
    let [line] = &retired[..] else { bail!("retired domains: {retired:?}") };
    let requesters = root_debugfs::requesters()?;
    if requesters.iter().any(|requester| requester.place == line.id.to_string() || requester.doubt != "-") {
        bail!("{line:?}, and {requesters:?}");
    }
    context.reporter.note(&format!("{line:?}"));
    Ok(Outcome::Pass(format!("domain {}", line.id)))
}

const LEFT_BEHIND: Check = Check::new("root-retired-domain-is-shown", left_behind);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-matrix",
    summary: "each call goes wrong while a program has a device",
    checks: &[DEVICES, GROUPS, NO_FAULTS, REFUSED_DEPOSITS, MATRIX, LEFT_BEHIND, VIOLATIONS],
}];
