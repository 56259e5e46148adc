// SPDX-License-Identifier: GPL-2.0
//! Each call of the root partition's IOMMU goes wrong while a program has a device: what the program is told, where the
//! device is then, what the driver says, and that the next program finds all in order.

mod cells;
mod program;

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use hvcore::status::Status;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use self::cells::{Cell, Extent, Half, Notices, Warns};
use self::program::{Pieces, Seen};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::{memory_info, KMEMLEAK};
use crate::checks::said::{account_for, compare_lines};
use crate::kernel_log::KernelLog;
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::{Injection, Minihv};
use crate::report::Outcome;
use crate::root_debugfs;
use crate::session::BackEnd;
use crate::witness::{at, Witness};

/// Cells that may fail before the others are not tried any more.
const FAILURES_MAX: usize = 6;

/// Domains of this boot that could not be deleted.
static LEFT: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn left() -> Result<BTreeSet<u32>> {
    Ok(LEFT.lock().ok().context("the list of domains that are left")?.clone())
}

/// Which cells a boot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Those that nobody but the driver has a word for.
    Quiet,
    /// Those in which the kernel warns of a driver that does not do what it should.
    Warned,
}

fn is_warned(cell: &Cell, back_end: BackEnd) -> bool {
    match cell.warns() {
        Warns::Nobody => false,
        Warns::Iommufd => back_end == BackEnd::Iommufd,
    }
}

/// Runs the cells one after the other. Each is a line of the report.
fn matrix(context: &mut Context<'_>, back_end: BackEnd, extent: Extent, kind: Kind) -> Result<Outcome> {
    let minihv = context.minihv()?;
    fill(context, minihv)?;
    let mut cells = cells::cells(extent);
    cells.retain(|cell| is_warned(cell, back_end) == (kind == Kind::Warned));
    let mut log = KernelLog::follow()?;
    let (mut tried, mut failed) = (0, 0);
    for cell in &cells {
        if failed == FAILURES_MAX {
            break;
        }
        tried += 1;
        let result = one(context, minihv, back_end, cell, &mut log);
        minihv.clear_injections()?;
        match result {
            Ok(seen) => context.reporter.note(&format!("cell {cell}: {:?}, {:?}: ok", seen.notices, seen.errno)),
            Err(error) => {
                failed += 1;
                context.reporter.note(&format!("cell {cell}: FAILED: {error:#}"));
                account_for(&log.take()?);
            }
        }
    }
    // Those that were not tried count as failed.
    failed += cells.len() - tried;
    ensure!(!cells.is_empty() && failed == 0, "{} cells, {failed} failed", cells.len());
    Ok(Outcome::Pass(format!("{} cells by {back_end:?}, 0 failed", cells.len())))
}

/// Gives the hypervisor so much memory that no call asks for it but those that are made to.
fn fill(context: &Context<'_>, minihv: Minihv) -> Result<()> {
    const DEPOSITS: u16 = 16;
    let asks = Injection { status: Status::INSUFFICIENT_MEMORY, ..Injection::next(CallCode::CREATE_DEVICE_DOMAIN) };
    minihv.inject(Injection { times: Some(DEPOSITS), ..asks })?;
    let seen = program::run(context, minihv, BackEnd::Type1, Pieces::One);
    minihv.clear_injections()?;
    ensure!(
        seen.context("before the first cell")?.notices == Notices::Nothing,
        "memory that is asked for does not help"
    );
    Ok(())
}

/// A program that must notice nothing.
fn undisturbed(context: &Context<'_>, minihv: Minihv, back_end: BackEnd) -> Result<()> {
    let seen = program::run(context, minihv, back_end, Pieces::One)?;
    ensure!((seen.notices, seen.errno) == (Notices::Nothing, None), "the next program notices {seen:?}");
    let domain = seen.domain.context("the next program has no domain")?;
    ensure!(!left()?.contains(&domain.0), "the next program has domain {}, which could not be deleted", domain.0);
    Ok(())
}

fn one(context: &Context<'_>, minihv: Minihv, back_end: BackEnd, cell: &Cell, log: &mut KernelLog) -> Result<Seen> {
    let count = |counter| minihv.counter(counter, 0);
    let (injected, violations) = (count(Counter::Injected)?, count(Counter::Violations)?);
    let expected = cell.expected();
    log.take()?;
    for (injection, effect) in cell.injections() {
        minihv.inject_effect(injection, effect, None)?;
    }
    let seen = program::run(context, minihv, back_end, Pieces::of(cell.effect))?;
    minihv.clear_injections()?;
    let lines = log.take()?;
    let told = (seen.notices, seen.errno);
    ensure!(told == (expected.notices, expected.errno), "the program notices {told:?}, not {expected:?}: {lines:?}");
    compare_lines(&expected.messages, usize::from(is_warned(cell, back_end)), &lines)?;
    account_for(&lines);
    let answered = count(Counter::Injected)? - injected;
    let due = expected.answers.unwrap_or(answered);
    ensure!(answered == due && answered > 0, "{answered} answers were wrong instead of {due}");
    if cell.leaves_domain() {
        let domain = seen.domain.context("no domain is left behind")?;
        let mut left = LEFT.lock().ok().context("the list of domains that are left")?;
        ensure!(left.insert(domain.0), "domain {} was left behind before", domain.0);
    }
    undisturbed(context, minihv, back_end)?;
    compare_lines(&[], 0, &log.take()?).context("after the cell")?;
    let broken = count(Counter::Violations)? - violations;
    ensure!(broken == 0, "{broken} violations of the interface");
    Ok(seen)
}

macro_rules! matrices {
    ($($constant:ident $name:literal $back_end:ident $extent:expr, $kind:ident;)*) => {
        $(const $constant: Check = Check::new($name, |c| matrix(c, BackEnd::$back_end, $extent, Kind::$kind));)*
    };
}

matrices! {
    TYPE1_SAMPLE "root-matrix-type1-sample" Type1 Extent::Sample(Half::Even), Quiet;
    IOMMUFD_SAMPLE "root-matrix-iommufd-sample" Iommufd Extent::Sample(Half::Odd), Quiet;
    TYPE1_FULL "root-matrix-type1" Type1 Extent::Full, Quiet;
    IOMMUFD_FULL "root-matrix-iommufd" Iommufd Extent::Full, Quiet;
    WARNED "root-matrix-warnings" Iommufd Extent::Full, Warned;
}

/// The hypervisor takes none of the pages that it is offered: the kernel still has them all.
fn refused_deposits(context: &mut Context<'_>) -> Result<Outcome> {
    const TIMES: u64 = 256;
    /// What the driver offers at a time.
    const OFFERED: u64 = 32 * PAGE as u64;
    let minihv = context.minihv()?;
    let witness = Witness::open(context, 1)?;
    let refuse = || -> Result<()> {
        let asks = Injection { status: Status::INSUFFICIENT_MEMORY, ..Injection::next(CallCode::MAP_DEVICE_GPA_PAGES) };
        for injection in [asks, Injection::next(CallCode::DEPOSIT_MEMORY)] {
            minihv.inject(injection)?;
        }
        let mapped = witness.session.map(at(0), &witness.buffer, 0, 1);
        minihv.clear_injections()?;
        ensure!(mapped.is_err(), "a page is mapped without the memory that the hypervisor wants");
        Ok(())
    };
    refuse()?;
    let (calls, free) = (minihv.calls(CallCode::DEPOSIT_MEMORY)?, memory_info("MemFree")?);
    for _ in 0..TIMES {
        refuse()?;
    }
    let (calls, lost) = (minihv.calls(CallCode::DEPOSIT_MEMORY)? - calls, free.saturating_sub(memory_info("MemFree")?));
    ensure!(calls == TIMES, "{calls} deposits instead of {TIMES}");
    // The kernel uses some memory of its own meanwhile.
    ensure!(lost < TIMES * OFFERED / 4, "{lost} bytes are lost by {TIMES} deposits that were refused");
    Ok(Outcome::Pass(format!("{TIMES} times, free memory -{lost} bytes")))
}

const REFUSED_DEPOSITS: Check = Check::new("root-refused-pages-are-kept", refused_deposits);

/// Domains that could not be deleted are still there to be seen.
fn left_behind(context: &mut Context<'_>) -> Result<Outcome> {
    let left = left()?;
    ensure!(!left.is_empty(), "every domain was deleted");
    let retired: Vec<_> = root_debugfs::domains()?.into_iter().filter(|line| line.state == "retired").collect();
    let numbers: BTreeSet<u32> = retired.iter().map(|line| line.id).collect();
    ensure!(numbers == left, "{left:?} were left behind, and these are retired: {retired:?}");
    let requesters = root_debugfs::requesters()?;
    let is_in = |place: &str| numbers.iter().any(|number| place == number.to_string());
    if requesters.iter().any(|requester| is_in(&requester.place) || requester.doubt != "-") {
        bail!("{retired:?}, and {requesters:?}");
    }
    let minihv = context.minihv()?;
    for number in &left {
        ensure!(minihv.domain_exists(DomainId(*number))?, "the hypervisor has no domain {number}");
    }
    Ok(Outcome::Pass(format!("domains {left:?}")))
}

const LEFT_BEHIND: Check = Check::new("root-retired-domain-is-shown", left_behind);

/// Numbers of domains that could not be deleted are no others', however many are made.
fn never_again(context: &mut Context<'_>) -> Result<Outcome> {
    const DOMAINS: usize = 64;
    let left = left()?;
    let witness = Witness::with_buffer(context, BackEnd::Iommufd, DmaBuffer::new(1)?)?;
    let (cdev, space) = witness.session.iommufd()?;
    let before: BTreeSet<u32> = root_debugfs::domains()?.iter().map(|line| line.id).collect();
    for _ in 0..DOMAINS {
        // They go with the context.
        space.iommufd.allocate_hwpt(cdev.id()?, space.ioas).context("one domain more")?;
    }
    let after: Vec<_> = root_debugfs::domains()?.into_iter().filter(|line| line.state == "open").collect();
    let numbers: BTreeSet<u32> = after.iter().map(|line| line.id).collect();
    let new = numbers.difference(&before).count();
    ensure!(new == DOMAINS && numbers.len() == after.len(), "{DOMAINS} domains more have {new} numbers: {after:?}");
    ensure!(numbers.is_disjoint(&left), "numbers of {left:?} are used again: {numbers:?}");
    Ok(Outcome::Pass(format!("{DOMAINS} domains, none of {left:?}")))
}

const NEVER_AGAIN: Check = Check::new("root-retired-number-is-no-others", never_again);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "root-matrix",
        summary: "each call goes wrong in some ways while a program has a device",
        checks: &[
            DEVICES,
            GROUPS,
            NO_FAULTS,
            REFUSED_DEPOSITS,
            TYPE1_SAMPLE,
            IOMMUFD_SAMPLE,
            LEFT_BEHIND,
            NEVER_AGAIN,
            KMEMLEAK,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "root-matrix-type1",
        summary: "each call goes wrong in every way while a program has a device by type 1",
        checks: &[DEVICES, GROUPS, NO_FAULTS, TYPE1_FULL, LEFT_BEHIND, NEVER_AGAIN, KMEMLEAK, VIOLATIONS],
    },
    Scenario {
        name: "root-matrix-iommufd",
        summary: "each call goes wrong in every way while a program has a device by iommufd",
        checks: &[DEVICES, GROUPS, NO_FAULTS, IOMMUFD_FULL, LEFT_BEHIND, NEVER_AGAIN, KMEMLEAK, VIOLATIONS],
    },
    Scenario {
        name: "root-matrix-warnings",
        summary: "calls go wrong where the kernel warns of a driver that does not do what it should",
        checks: &[DEVICES, GROUPS, NO_FAULTS, WARNED, KMEMLEAK, VIOLATIONS],
    },
];
