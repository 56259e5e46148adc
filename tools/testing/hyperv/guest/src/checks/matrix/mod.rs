// SPDX-License-Identifier: GPL-2.0
//! Every hypercall fails in every way, under I/O: what comes of each is what is documented.

mod cells;
mod drive;
mod load;
mod offer;
mod takeover;
mod user;
mod verdict;

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use self::cells::{Extent, Operation};
use self::drive::Drive;
use self::load::Load;
use self::verdict::Judge;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::report::Outcome;

/// Cells of this boot, and how many of them failed.
static CELLS: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// Cells of one operation that may fail before the others are not tried any more.
const FAILURES_MAX: usize = 6;

fn open(context: &Context<'_>, operation: Operation) -> Result<Box<dyn Drive>> {
    Ok(match operation {
        Operation::Create
        | Operation::Configure
        | Operation::Attach
        | Operation::Block
        | Operation::Strand
        | Operation::Delete
        | Operation::Flush
        | Operation::FlushDetach
        | Operation::FlushList => Box::new(user::User::open(context)?),
        Operation::Detach | Operation::Return => Box::new(takeover::Takeover::open(context)?),
        Operation::Property | Operation::ProbeCreate | Operation::ProbeConfigure | Operation::ProbeAttach => {
            Box::new(offer::Offer::open(context)?)
        }
    })
}

/// Runs the cells of an operation. Each is a line of the report.
fn run(context: &mut Context<'_>, operation: Operation, extent: Extent) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let cells = cells::cells(operation, extent);
    CELLS.fetch_add(cells.len(), Ordering::Relaxed);
    let load = Load::start(context)?;
    let mut prepared = None;
    let (mut tried, mut failed) = (0, 0);
    for cell in &cells {
        if failed == FAILURES_MAX {
            break;
        }
        let result = match &mut prepared {
            Some(prepared) => one(prepared, cell),
            slot => {
                let mut drive = open(context, operation).context("before the first cell")?;
                let judge = Judge::new(minihv, drive.as_mut()).context("before the first cell")?;
                one(slot.insert((drive, judge)), cell)
            }
        };
        tried += 1;
        match result {
            Ok(seen) => context.reporter.note(&format!("cell {cell}: {seen}: ok")),
            Err(error) => {
                failed += 1;
                context.reporter.note(&format!("cell {cell}: FAILED: {error:#}"));
                // Whatever it left, the next one starts afresh.
                prepared = None;
            }
        }
    }
    drop(prepared);
    // Those that were not tried count as failed.
    failed += cells.len() - tried;
    FAILED.fetch_add(failed, Ordering::Relaxed);
    let compared = load.finish().context("the I/O of the NVMe controller meanwhile")?;
    if failed != 0 {
        bail!("{} cells, {failed} failed", cells.len());
    }
    Ok(Outcome::Pass(format!("{} cells, 0 failed, {} MiB of NVMe I/O compared meanwhile", cells.len(), compared >> 20)))
}

fn one((drive, judge): &mut (Box<dyn Drive>, Judge), cell: &cells::Cell) -> Result<String> {
    judge.run(drive.as_mut(), cell)
}

/// Sums up. The host was asked for its capabilities once: the cells of that call are boots of their own, and it has no
/// second occurrence.
fn totals(context: &mut Context<'_>) -> Result<Outcome> {
    let call = CallCode::GET_IOMMU_CAPABILITIES;
    let asked = context.minihv()?.calls(call)?;
    if asked != 1 {
        bail!("{call} was made {asked} times");
    }
    let (cells, failed) = (CELLS.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed));
    let text = format!("{cells} cells, {failed} failed");
    if cells == 0 || failed != 0 {
        bail!("{text}");
    }
    Ok(Outcome::Pass(text))
}

const TOTALS: Check = Check::new("matrix-totals", totals);

/// A check for each operation, with some cells and with all.
macro_rules! operations {
    ($($constant:ident $name:literal $operation:ident;)*) => {
        mod sample {
            use super::*;
            $(pub const $constant: Check = Check::new($name, |c| run(c, Operation::$operation, Extent::Sample));)*
        }
        mod full {
            use super::*;
            $(pub const $constant: Check = Check::new($name, |c| run(c, Operation::$operation, Extent::Full));)*
        }
    };
}

operations! {
    CREATE "create" Create;
    CONFIGURE "configure" Configure;
    ATTACH "attach" Attach;
    BLOCK "attach-to-blocking" Block;
    DETACH "detach" Detach;
    DELETE "delete" Delete;
    FLUSH "flush" Flush;
    FLUSH_DETACH "attach-to-blocking-after-flush" FlushDetach;
    FLUSH_LIST "flush-list" FlushList;
    PROPERTY "property" Property;
    PROBE_CREATE "create-at-probe" ProbeCreate;
    PROBE_CONFIGURE "configure-at-probe" ProbeConfigure;
    RETURN "attach-at-release" Return;
    PROBE_ATTACH "attach-at-probe" ProbeAttach;
    STRAND "detach-in-use" Strand;
}

/// The scenarios. The list flush comes last: that the host does not know it is remembered.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "matrix-sample",
        summary: "some of every hypercall that fails at run time, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            sample::CREATE,
            sample::CONFIGURE,
            sample::ATTACH,
            sample::BLOCK,
            sample::DETACH,
            sample::DELETE,
            sample::FLUSH,
            sample::FLUSH_DETACH,
            sample::FLUSH_LIST,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-sample-at-probe",
        summary: "some of every hypercall that fails when a device appears, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            sample::PROPERTY,
            sample::PROBE_CREATE,
            sample::PROBE_CONFIGURE,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-user",
        summary: "every hypercall that a program can cause fails, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            full::CREATE,
            full::CONFIGURE,
            full::ATTACH,
            full::BLOCK,
            full::DETACH,
            full::DELETE,
            full::FLUSH,
            full::FLUSH_DETACH,
            full::FLUSH_LIST,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-property",
        summary: "the host cannot be asked about a device that appears",
        checks: &[DEVICES, GROUPS, full::PROPERTY, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-create",
        summary: "a device appears, and its default domain cannot be created",
        checks: &[DEVICES, GROUPS, full::PROBE_CREATE, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-configure",
        summary: "a device appears, and its default domain cannot be configured",
        checks: &[DEVICES, GROUPS, full::PROBE_CONFIGURE, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-attach",
        summary: "a device appears, and cannot be attached to its default domain",
        checks: &[DEVICES, GROUPS, full::PROBE_ATTACH, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-warnings-sample",
        summary: "some hypercalls fail where the IOMMU core warns of a driver that refuses",
        checks: &[DEVICES, GROUPS, sample::RETURN, sample::PROBE_ATTACH, sample::STRAND, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-warnings",
        summary: "every hypercall fails where the IOMMU core warns of a driver that refuses",
        checks: &[DEVICES, GROUPS, full::RETURN, full::STRAND, KMEMLEAK, VIOLATIONS, TOTALS],
    },
];
