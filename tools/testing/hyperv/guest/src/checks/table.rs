// SPDX-License-Identifier: GPL-2.0
//! A domain's page table, read entry by entry where the hypervisor sees it: all that user space mapped, and nothing else.

use std::collections::BTreeMap;

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::{DomainId, Gpa, Iova};

use crate::check::{Check, Context};
use crate::checks::observe::domain_of;
use crate::debugfs;
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::minihv::Minihv;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, BASE};

/// Bytes of pages of 2 MiB.
const HUGE: u64 = 1 << 21;

/// Bits of an entry: it is there; its pages can be written; no table follows.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LEAF: u64 = 1 << 7;
/// What an entry points to.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An I/O page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    /// Where it is.
    physical: Gpa,
    /// Bytes.
    size: u64,
    /// Devices can write to it.
    writable: bool,
}

/// By IOVA.
type Pages = BTreeMap<u64, Page>;

/// Adds what a table of a level maps; level 0 is the lowest.
fn read_table(minihv: Minihv, table: Gpa, level: u32, base: u64, pages: &mut Pages) -> Result<()> {
    let size = 1u64 << (12 + 9 * level);
    for index in 0..512 {
        let entry = minihv.peek(Gpa(table.0 + 8 * index))?;
        if entry & PRESENT == 0 {
            continue;
        }
        let (iova, physical) = (base + index * size, Gpa(entry & ADDRESS));
        if level > 0 && entry & LEAF == 0 {
            read_table(minihv, physical, level - 1, iova, pages)?;
            continue;
        }
        ensure!(level <= 2 && physical.0 % size == 0, "{iova:#x}: no table holds {entry:#x} at level {level}");
        pages.insert(iova, Page { physical, size, writable: entry & WRITABLE != 0 });
    }
    Ok(())
}

/// What the table of a domain maps.
fn mapped(minihv: Minihv, domain: DomainId) -> Result<Pages> {
    let line = debugfs::domain(domain)?.context("the domain has no line in debugfs")?;
    let paging = line.paging.with_context(|| format!("{line:?} has no table"))?;
    let mut pages = Pages::new();
    read_table(minihv, paging.root, u32::try_from(paging.levels - 1)?, 0, &mut pages)?;
    Ok(pages)
}

/// What mapping pages `first..first + count` of a buffer at `iova`, in 4 KiB pages, puts into the table.
fn small_pages(iova: Iova, buffer: &DmaBuffer, first: usize, count: usize) -> Result<Pages> {
    let page = |index: usize| -> Result<_> {
        let physical = buffer.physical(first + index)?;
        Ok((iova.0 + (index * PAGE) as u64, Page { physical, size: PAGE as u64, writable: true }))
    };
    (0..count).map(page).collect()
}

/// The table holds these pages and no more, and minihv translates their ends to the same places.
fn expect(minihv: Minihv, domain: DomainId, pages: &Pages) -> Result<()> {
    let found = mapped(minihv, domain)?;
    ensure!(found == *pages, "mapped are {pages:x?}, the table holds {found:x?}");
    for (iova, page) in pages {
        for offset in [0, page.size - PAGE as u64] {
            let iova = Iova(iova + offset);
            let leaf = minihv.walk(domain, iova)?.with_context(|| format!("{:#x} is not there to minihv", iova.0))?;
            ensure!(leaf.sends(iova, Gpa(page.physical.0 + offset)), "{:#x}: {leaf:x?}, {page:x?}", iova.0);
        }
    }
    Ok(())
}

/// Pages of 4 KiB and of 2 MiB are there as long as they are mapped, and nothing is beside them.
fn exact(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let witness = Witness::open_by(context, BackEnd::Type1, 5)?;
    let domain = domain_of(minihv, &witness)?;
    expect(minihv, domain, &Pages::new())?;

    let huge = DmaBuffer::huge(HugePage::TwoMiB)?;
    // On either side of a border between two tables, and a large page behind.
    let (low, high, large) = (Iova(BASE - 2 * PAGE as u64), at(1), Iova(BASE + HUGE));
    witness.session.map(low, &witness.buffer, 0, 3).context("three pages")?;
    witness.session.map(high, &witness.buffer, 3, 2).context("two pages")?;
    witness.session.map(large, &huge, 0, huge.pages()).context("a large page")?;
    let mut pages = small_pages(low, &witness.buffer, 0, 3)?;
    pages.append(&mut small_pages(high, &witness.buffer, 3, 2)?);
    pages.insert(large.0, Page { physical: huge.physical(0)?, size: HUGE, writable: true });
    expect(minihv, domain, &pages)?;

    witness.session.unmap(low, 3)?;
    pages.retain(|iova, _| *iova >= high.0);
    expect(minihv, domain, &pages)?;
    witness.session.unmap(high, 2)?;
    witness.session.unmap(large, huge.pages())?;
    expect(minihv, domain, &Pages::new())?;
    drop(witness);
    ensure!(debugfs::domain(domain)?.is_none(), "domain {} is listed after it went", domain.0);
    Ok(Outcome::Pass("5 pages of 4 KiB, 1 of 2 MiB".to_owned()))
}

pub const TABLE_EXACT: Check = Check::new("table-is-what-is-mapped", exact);
