// SPDX-License-Identifier: GPL-2.0
//! Large pages: one entry of the I/O page table each, and one flush.

use anyhow::{bail, Context as _, Result};
use hvcore::control::Counter;
use hvcore::ids::Iova;

use crate::checks::counters;
use crate::control::Minihv;
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{at, Bench, FROM_DEVICE};
use crate::vfio::BackEnd;

/// What flushing has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    calls: u64,
    pages: u64,
}

impl Cost {
    fn now(minihv: Minihv) -> Result<Cost> {
        Ok(Cost { calls: counters::flush_calls(minihv)?, pages: minihv.counter(Counter::FlushPages, 0)? })
    }
}

/// One entry of the table maps the whole page.
fn is_one_leaf(minihv: Minihv, bench: &Bench) -> Result<()> {
    let last = at(bench.buffer.pages() as u64 - 1);
    let leaf = |iova: Iova| -> Result<_> {
        bench.leaf(minihv, iova)?.with_context(|| format!("{:#x} is not in the table", iova.0))
    };
    let (first_leaf, last_leaf) = (leaf(at(0))?, leaf(last)?);
    // Leaves of smaller pages would hold different addresses.
    if first_leaf != last_leaf || !first_leaf.is_large() {
        bail!("the first page's entry is {first_leaf:x?}, the last page's {last_leaf:x?}");
    }
    if !first_leaf.sends(at(0), bench.buffer.physical(0)?) {
        bail!("the entry {first_leaf:x?} does not point at {:#x}", bench.buffer.physical(0)?.0);
    }
    Ok(())
}

/// A huge page of user space becomes one leaf, works from its first byte to its last, costs one flush to unmap, and is
/// gone after that.
pub fn pages(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv to walk the table".to_owned())) };
    let mut seen = Vec::new();
    for size in [HugePage::TwoMiB, HugePage::OneGiB] {
        let mut bench = Bench::with_buffer(context, back_end, DmaBuffer::huge(size)?)?;
        let count = bench.buffer.pages();
        let tried = [0, count / 2, count - 1];
        bench.session.map(at(0), &bench.buffer, 0, count).with_context(|| format!("mapping {size:?}"))?;
        is_one_leaf(minihv, &bench)?;
        for page in tried {
            bench.round_trip(at(page as u64), page, FROM_DEVICE, "a page of the huge page")?;
        }
        let before = Cost::now(minihv)?;
        bench.session.unmap(at(0), count)?;
        let after = Cost::now(minihv)?;
        let (calls, pages) = (after.calls - before.calls, after.pages - before.pages);
        if calls != 1 || pages != count as u64 {
            bail!("unmapping {size:?} took {calls} flushes of {pages} pages, not 1 of {count}");
        }
        for page in tried {
            bench.blocked_write(at(page as u64), page, "STALE TRANSLATION: a page of the huge page after its unmap")?;
        }
        bench.faults.expect_none()?;
        seen.push(format!("{size:?} ({} KiB): 1 entry, 1 flush", count * PAGE >> 10));
    }
    Ok(Outcome::Pass(seen.join("; ")))
}
