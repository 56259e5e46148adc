// SPDX-License-Identifier: GPL-2.0
//! Dumps of page tables: all that user space mapped, nothing else, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{anyhow, bail, ensure, Context as _, Result};
use hvcore::ids::{DomainId, Gpa, Iova};

use crate::check::{Check, Context};
use crate::checks::observe::domain_of;
use crate::debugfs::{self, Dump, Page};
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::minihv::Minihv;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, BASE};

/// Everything, both ends included.
const ALL: (Iova, Iova) = (Iova(0), Iova(u64::MAX));
/// Pages of 2 MiB.
const HUGE: u64 = 1 << 21;
/// How often the concurrent thread maps and unmaps.
const ROUNDS: u64 = 300;

/// The dump of a range.
fn dump(domain: DomainId, range: (Iova, Iova)) -> Result<Dump> {
    debugfs::select(domain, range.0, range.1)?;
    debugfs::table()
}

/// What mapping pages `first..first + count` of a buffer at `iova`, in 4 KiB pages, puts into the table.
fn small_pages(iova: Iova, buffer: &DmaBuffer, first: usize, count: usize) -> Result<BTreeMap<u64, Page>> {
    let page = |index: usize| -> Result<_> {
        let physical = buffer.physical(first + index)?;
        Ok((iova.0 + (index * PAGE) as u64, Page { physical, size: PAGE as u64, access: "rw" }))
    };
    (0..count).map(page).collect()
}

/// The dump is these pages and no more, is not cut, and minihv walks to the same places.
fn expect(minihv: Minihv, domain: DomainId, range: (Iova, Iova), pages: &BTreeMap<u64, Page>) -> Result<()> {
    let dump = dump(domain, range)?;
    ensure!(dump.pages == *pages, "mapped are {pages:x?}, the dump is {dump:x?}");
    ensure!(dump.doubts.is_empty() && dump.remarks.len() == 2, "{dump:x?}");
    for (iova, page) in pages {
        for offset in [0, page.size - PAGE as u64] {
            let iova = Iova(iova + offset);
            let leaf = minihv.walk(domain, iova)?.with_context(|| format!("{:#x} is not there to minihv", iova.0))?;
            ensure!(leaf.sends(iova, Gpa(page.physical.0 + offset)), "{:#x}: {leaf:x?}, {page:x?}", iova.0);
        }
    }
    Ok(())
}

/// Pages of 4 KiB and of 2 MiB are shown as long as they are mapped, by whole pages, and only in the range asked for.
fn exact(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let witness = Witness::open_by(context, BackEnd::Type1, 5)?;
    let domain = domain_of(minihv, &witness)?;
    expect(minihv, domain, ALL, &BTreeMap::new())?;

    let huge = DmaBuffer::huge(HugePage::TwoMiB)?;
    // On either side of a border between two tables, and a large page behind.
    let (low, high, large) = (Iova(BASE - 2 * PAGE as u64), at(1), Iova(BASE + HUGE));
    witness.session.map(low, &witness.buffer, 0, 3).context("three pages")?;
    witness.session.map(high, &witness.buffer, 3, 2).context("two pages")?;
    witness.session.map(large, &huge, 0, huge.pages()).context("a large page")?;
    let mut pages = small_pages(low, &witness.buffer, 0, 3)?;
    pages.append(&mut small_pages(high, &witness.buffer, 3, 2)?);
    pages.insert(large.0, Page { physical: huge.physical(0)?, size: HUGE, access: "rw" });
    expect(minihv, domain, ALL, &pages)?;

    // Parts: the upper table alone, one page by its last byte, the large page by one in its middle, a hole.
    let part = |first: u64, last: u64| {
        let overlaps = |(iova, page): &(&u64, &Page)| **iova <= last && **iova + (page.size - 1) >= first;
        pages.iter().filter(overlaps).map(|(iova, page)| (*iova, *page)).collect::<BTreeMap<_, _>>()
    };
    let parts = [
        (BASE, BASE + HUGE - 1),
        (BASE - 1, BASE - 1),
        (large.0 + HUGE / 2, large.0 + HUGE / 2),
        (large.0 + HUGE, u64::MAX),
        (0, BASE - 1),
    ];
    for ((first, last), count) in parts.into_iter().zip([3, 1, 1, 0, 2]) {
        let pages = part(first, last);
        ensure!(pages.len() == count, "the part {first:#x}-{last:#x} is {pages:x?}");
        expect(minihv, domain, (Iova(first), Iova(last)), &pages)?;
    }

    witness.session.unmap(low, 3)?;
    pages.retain(|iova, _| *iova >= high.0);
    expect(minihv, domain, ALL, &pages)?;
    witness.session.unmap(high, 2)?;
    witness.session.unmap(large, huge.pages())?;
    expect(minihv, domain, ALL, &BTreeMap::new())?;
    drop(witness);
    let gone = debugfs::table()?;
    ensure!(gone.remarks.iter().any(|remark| remark.ends_with("has no table")), "after the domain went: {gone:?}");
    Ok(Outcome::Pass(format!("5 pages of 4 KiB, 1 of 2 MiB, {} parts", parts.len())))
}

pub const DUMP_EXACT: Check = Check::new("table-dump-is-what-is-mapped", exact);

/// Selections that make no sense are refused and change nothing.
fn absurd_selections(context: &mut Context<'_>) -> Result<Outcome> {
    const ABSURD: [&str; 11] = [
        "\n",
        "1\n",
        "1 0\n",
        "1 0 1 1\n",
        "0 0 0xfff\n",
        "1 0x1000 0xfff\n",
        "1 -1 0xfff\n",
        "one 0 0xfff\n",
        "4294967296 0 0xfff\n",
        "1 0x200000000000000 0xffffffffffffffff\n",
        "1 0 0x10000000000000000\n",
    ];
    let minihv = context.minihv()?;
    let witness = Witness::open(context, 1)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    let before = dump(domain_of(minihv, &witness)?, ALL)?;
    ensure!(before.pages.len() == 1, "{before:x?}");
    let long = "1 ".repeat(4096);
    for text in ABSURD.into_iter().chain([long.as_str()]) {
        match debugfs::select_text(text) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => bail!("{:?} is answered {other:?}", &text[..text.len().min(48)]),
        }
    }
    let after = debugfs::table()?;
    ensure!(before == after, "a refused selection made {before:x?} into {after:x?}");
    // A number that no domain has is a good selection of nothing.
    let none = dump(DomainId(0xffff_fffe), ALL)?;
    ensure!(none.pages.is_empty() && none.remarks.iter().any(|remark| remark.ends_with("has no table")), "{none:?}");
    Ok(Outcome::Pass(format!("{} texts, EINVAL each", ABSURD.len() + 1)))
}

pub const DUMP_ABSURD: Check = Check::new("table-dump-refuses-absurd-selections", absurd_selections);

/// Reads dumps until `is_over`, at least one after that; returns how many, and how many of them had doubts.
fn read_dumps(is_over: &AtomicBool) -> Result<(u64, u64)> {
    let (mut reads, mut doubtful) = (0, 0);
    loop {
        let is_last = is_over.load(Ordering::Acquire);
        doubtful += u64::from(!debugfs::table()?.doubts.is_empty());
        reads += 1;
        if is_last {
            return Ok((reads, doubtful));
        }
        thread::yield_now();
    }
}

/// Maps and unmaps so that tables come and go: small pages and a large page take turns in one place.
fn map_and_unmap(witness: &Witness, huge: &DmaBuffer) -> Result<()> {
    for round in 0..ROUNDS {
        witness
            .session
            .map(at(0), &witness.buffer, 0, witness.buffer.pages())
            .with_context(|| format!("round {round}"))?;
        witness.session.unmap(at(0), witness.buffer.pages()).with_context(|| format!("round {round}"))?;
        witness.session.map(at(0), huge, 0, huge.pages()).with_context(|| format!("round {round}, large"))?;
        witness.session.unmap(at(0), huge.pages()).with_context(|| format!("round {round}, large"))?;
    }
    Ok(())
}

/// Dumps of a table that changes under them: every line is as documented, what stays mapped is right afterwards, and
/// nothing faults.
fn concurrent(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let witness = Witness::open_by(context, BackEnd::Type1, 4)?;
    let domain = domain_of(minihv, &witness)?;
    let huge = DmaBuffer::huge(HugePage::TwoMiB)?;
    let stays = at(2 * HUGE / PAGE as u64);
    witness.session.map(stays, &witness.buffer, 1, 2)?;
    debugfs::select(domain, ALL.0, ALL.1)?;

    let is_over = AtomicBool::new(false);
    let (mapped, read) = thread::scope(|scope| {
        let reader = scope.spawn(|| read_dumps(&is_over));
        let mapped = map_and_unmap(&witness, &huge);
        is_over.store(true, Ordering::Release);
        (mapped, reader.join().unwrap_or_else(|_| Err(anyhow!("the reader panicked"))))
    });
    mapped?;
    let (reads, doubtful) = read?;
    expect(minihv, domain, ALL, &small_pages(stays, &witness.buffer, 1, 2)?)?;
    Ok(Outcome::Pass(format!("{reads} dumps during {ROUNDS} rounds, {doubtful} of them with doubts")))
}

pub const DUMP_CONCURRENT: Check = Check::new("table-dump-survives-changes", concurrent);
