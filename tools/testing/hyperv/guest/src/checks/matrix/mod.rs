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
use hvcore::control::Counter;
use hvcore::hypercall::codes::CallCode;

pub use self::cells::{Extent, Operation};
use self::drive::Drive;
use self::load::Load;
use self::verdict::Judge;
use crate::report::Outcome;
use crate::scenario::Context;

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
pub fn run(context: &mut Context<'_>, operation: Operation, extent: Extent) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let cells = cells::cells(operation, extent);
    CELLS.fetch_add(cells.len(), Ordering::Relaxed);
    let load = Load::start(context)?;
    let mut bench = None;
    let (mut tried, mut failed) = (0, 0);
    for cell in &cells {
        if failed == FAILURES_MAX {
            break;
        }
        let result = match &mut bench {
            Some(bench) => one(bench, cell),
            slot => {
                let (drive, judge) = {
                    let mut drive = open(context, operation).context("before the first cell")?;
                    let judge = Judge::new(minihv, drive.as_mut()).context("before the first cell")?;
                    (drive, judge)
                };
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
                bench = None;
            }
        }
    }
    drop(bench);
    // Those that were not tried count as failed.
    failed += cells.len() - tried;
    FAILED.fetch_add(failed, Ordering::Relaxed);
    let compared = load.finish().context("the I/O of the NVMe controller meanwhile")?;
    if failed != 0 {
        bail!("{} cells, {failed} failed", cells.len());
    }
    Ok(Outcome::Pass(format!("{} cells, 0 failed, {} MiB of NVMe I/O compared meanwhile", cells.len(), compared >> 20)))
}

fn one(bench: &mut (Box<dyn Drive>, Judge), cell: &cells::Cell) -> Result<String> {
    let (drive, judge) = bench;
    judge.run(drive.as_mut(), cell)
}

/// Sums up. The host was asked for its capabilities once: the cells of that call are boots of their own, and it has no
/// second occurrence.
pub fn totals(context: &mut Context<'_>) -> Result<Outcome> {
    let call = CallCode::GET_IOMMU_CAPABILITIES;
    let asked = context.minihv()?.counter(Counter::Calls, call.0.into())?;
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
