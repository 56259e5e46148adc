// SPDX-License-Identifier: GPL-2.0
//! Large pages: one entry of the I/O page table each, and one flush.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvcore::test_interface::Counter;

use crate::check::{Check, Context};
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::minihv::Minihv;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};

/// What flushing has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    calls: u64,
    pages: u64,
}

impl Cost {
    fn now(minihv: Minihv) -> Result<Cost> {
        Ok(Cost { calls: minihv.flush_calls()?, pages: minihv.counter(Counter::FlushPages, 0)? })
    }
}

/// One entry of the table maps the whole page.
fn is_one_leaf(minihv: Minihv, witness: &Witness) -> Result<()> {
    let last = at(witness.buffer.pages() as u64 - 1);
    let leaf = |iova: Iova| -> Result<_> {
        witness.leaf(minihv, iova)?.with_context(|| format!("{:#x} is not in the table", iova.0))
    };
    let (first_leaf, last_leaf) = (leaf(at(0))?, leaf(last)?);
    // Leaves of smaller pages would hold different addresses.
    if first_leaf != last_leaf || !first_leaf.is_large() {
        bail!("the first page's entry is {first_leaf:x?}, the last page's {last_leaf:x?}");
    }
    if !first_leaf.sends(at(0), witness.buffer.physical(0)?) {
        bail!("the entry {first_leaf:x?} does not point at {:#x}", witness.buffer.physical(0)?.0);
    }
    Ok(())
}

/// A huge page of user space becomes one leaf, works from its first byte to its last, costs one flush to unmap, and is
/// gone after that.
fn pages(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv to walk the table".to_owned())) };
    let mut seen = Vec::new();
    for size in [HugePage::TwoMiB, HugePage::OneGiB] {
        let mut witness = Witness::with_buffer(context, back_end, DmaBuffer::huge(size)?)?;
        let count = witness.buffer.pages();
        let tried = [0, count / 2, count - 1];
        witness.session.map(at(0), &witness.buffer, 0, count).with_context(|| format!("mapping {size:?}"))?;
        is_one_leaf(minihv, &witness)?;
        for page in tried {
            witness.round_trip(at(page as u64), page, FROM_DEVICE, "a page of the huge page")?;
        }
        let before = Cost::now(minihv)?;
        witness.session.unmap(at(0), count)?;
        let after = Cost::now(minihv)?;
        let (calls, pages) = (after.calls - before.calls, after.pages - before.pages);
        if calls != 1 || pages != count as u64 {
            bail!("unmapping {size:?} took {calls} flushes of {pages} pages, not 1 of {count}");
        }
        for page in tried {
            witness.blocked_write(
                at(page as u64),
                page,
                "STALE TRANSLATION: a page of the huge page after its unmap",
            )?;
        }
        witness.faults.expect_none()?;
        seen.push(format!("{size:?} ({} KiB): 1 entry, 1 flush", count * PAGE >> 10));
    }
    Ok(Outcome::Pass(seen.join("; ")))
}

pub const TYPE1_LARGE: Check = Check::new("vfio-large-pages", |c| pages(c, BackEnd::Type1));
pub const CDEV_LARGE: Check = Check::new("cdev-large-pages", |c| pages(c, BackEnd::Iommufd));
