// SPDX-License-Identifier: GPL-2.0
//! Memory that iommufd maps from a file. The pages are pinned when they are mapped: what becomes of the file later
//! changes nothing for the device, until they are unmapped.

use anyhow::{bail, ensure, Context as _, Result};
use nix::errno::Errno;

use crate::census::Census;
use crate::control::{DeviceTranslation, Leaf, Minihv};
use crate::faults::Access;
use crate::hotplug::wait_until;
use crate::memfd::{Backing, Memfd};
use crate::memory::{DmaBuffer, PAGE};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{at, Bench, CANARY, FROM_DEVICE, OTHER, SECRET};
use crate::vfio::BackEnd;

/// Where a page is mapped by which is seen what the device has read, as a page of the bench's window: behind all others.
pub const WINDOW: u64 = 1 << 16;

/// A bench with the page at [`WINDOW`], which child processes share.
///
/// # Errors
/// When a step fails.
pub fn bench(context: &Context<'_>) -> Result<Bench> {
    let bench = Bench::with_buffer(context, BackEnd::Iommufd, DmaBuffer::shared(1)?)?;
    bench.session.map(at(WINDOW), &bench.buffer, 0, 1)?;
    Ok(bench)
}

/// Maps the first `bytes` bytes of a file from page 0 of the bench's window on.
///
/// # Errors
/// The kernel's errno.
pub fn map(bench: &Bench, memfd: &Memfd, bytes: u64) -> Result<()> {
    let (_, space) = bench.iommufd()?;
    space.iommufd.map_file(space.ioas, at(0), memfd.file(), bytes).context("mapping a file")
}

/// The device reads a page, and its page at [`WINDOW`] shows what.
///
/// # Errors
/// When it is not `value` everywhere.
pub fn device_reads(bench: &Bench, page: usize, value: u8, what: &str) -> Result<()> {
    bench.buffer.fill(0, !value);
    bench.edu.load(at(page as u64))?;
    bench.edu.store(at(WINDOW))?;
    bench.buffer.expect(0, value, what)
}

/// The device writes a page.
///
/// # Errors
/// When it does not finish.
pub fn device_writes(bench: &Bench, page: usize, value: u8) -> Result<()> {
    bench.arm(at(WINDOW), 0, value)?;
    bench.edu.store(at(page as u64))
}

/// The device reads what is written to a page of the file, and who reads the file sees what the device writes.
fn both_ways(bench: &Bench, memfd: &Memfd, page: usize) -> Result<()> {
    memfd.view().fill(page, OTHER);
    device_reads(bench, page, OTHER, "the page of the file that the device reads")?;
    device_writes(bench, page, FROM_DEVICE)?;
    memfd.expect(page, FROM_DEVICE, "the page of the file that the device wrote")
}

fn leaf(bench: &Bench, minihv: Minihv, page: usize) -> Result<Leaf> {
    bench.leaf(minihv, at(page as u64))?.with_context(|| format!("page {page} is not in the table"))
}

/// Each unit is one entry of the table, and points at the file's page.
fn entries(bench: &Bench, minihv: Minihv, memfd: &Memfd, unit: usize) -> Result<Vec<Leaf>> {
    let mut leaves = Vec::new();
    for first in (0..memfd.view().pages()).step_by(unit) {
        let (start, end) = (leaf(bench, minihv, first)?, leaf(bench, minihv, first + unit - 1)?);
        let address = memfd.view().physical(first)?;
        ensure!(start.sends(at(first as u64), address), "page {first}: {start:x?} does not point at {address:x?}");
        ensure!(start == end && start.is_large() == (unit > 1), "{unit} pages at {first}: {start:x?} to {end:x?}");
        leaves.push(start);
    }
    Ok(leaves)
}

/// The device has a page that the file has lost, and not the one that the file has in its place.
fn is_apart(bench: &Bench, memfd: &Memfd, page: usize, kept: u8, how: &str) -> Result<()> {
    memfd.expect(page, 0, &format!("the file's new page where it was {how}"))?;
    device_reads(bench, page, kept, &format!("the device's page where the file was {how}"))?;
    device_writes(bench, page, OTHER)?;
    memfd.expect(page, 0, &format!("the file's new page after the device wrote where it was {how}"))?;
    device_reads(bench, page, OTHER, &format!("the device's page, written, where the file was {how}"))
}

/// The second of three units is taken out of the file, then the file is cut off behind the first one.
fn loses_pages(bench: &Bench, minihv: Minihv, memfd: &Memfd, unit: usize) -> Result<()> {
    let before = entries(bench, minihv, memfd, unit)?;
    let (second, third) = (unit, 2 * unit);
    for page in [second, third] {
        device_writes(bench, page, SECRET)?;
    }
    memfd.punch(1)?;
    memfd.renew(1)?;
    is_apart(bench, memfd, second, SECRET, "punched")?;
    both_ways(bench, memfd, 0).context("beside the hole")?;

    memfd.resize(unit)?;
    device_reads(bench, third, SECRET, "the device's page behind the end of the file")?;
    memfd.resize(3 * unit)?;
    memfd.renew(2)?;
    is_apart(bench, memfd, third, SECRET, "cut off")?;
    both_ways(bench, memfd, 0).context("before the end")?;
    let after = (0..3).map(|number| leaf(bench, minihv, number * unit)).collect::<Result<Vec<_>>>()?;
    ensure!(before == after, "the table was {before:x?} and is {after:x?}, and nobody asked for a change");
    Ok(())
}

/// What was unmapped is out of reach: the file's own pages, and those that were kept for the device alone.
fn out_of_reach(bench: &mut Bench, memfd: &Memfd, unit: usize) -> Result<()> {
    for page in (0..3).map(|number| number * unit) {
        memfd.view().fill(page, CANARY);
        device_writes(bench, page, SECRET)?;
        memfd.expect(page, CANARY, "STALE TRANSLATION: a page of the file after its unmap")?;
        bench.faults.expect(&bench.function, at(page as u64), Access::Write)?;
    }
    bench.faults.expect_none()
}

fn unmap(bench: &Bench, memfd: &Memfd) -> Result<()> {
    bench.session.unmap(at(0), usize::try_from(memfd.bytes())? / PAGE)
}

/// A file's pages are the device's memory, by one entry of the table each. They stay so when the file loses them, and go
/// with the unmap. What is mapped after that is what the file has then.
pub fn pages(context: &mut Context<'_>, backing: Backing) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let mut bench = bench(context)?;
    let (unit, memfd) = (backing.unit(), Memfd::new(backing, 3)?);
    let pinned = Census::take(minihv)?.pinned;
    map(&bench, &memfd, memfd.bytes())?;
    for page in [0, unit - 1, unit, 3 * unit - 1] {
        both_ways(&bench, &memfd, page)?;
    }
    loses_pages(&bench, minihv, &memfd, unit)?;
    bench.faults.expect_none()?;
    unmap(&bench, &memfd)?;
    wait_until("the file's pages are no longer pinned", || Ok(Census::take(minihv)?.pinned == pinned))?;
    out_of_reach(&mut bench, &memfd, unit)?;

    map(&bench, &memfd, memfd.bytes()).context("once more")?;
    entries(&bench, minihv, &memfd, unit)?;
    for page in [0, unit, 3 * unit - 1] {
        both_ways(&bench, &memfd, page)?;
    }
    bench.faults.expect_none()?;
    // The file goes before the device's mapping does.
    drop(memfd);
    drop(bench);
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("3 entries of {} KiB; punched, cut off, unmapped, mapped again", unit * PAGE >> 10)))
}

/// A file that is shorter than what is mapped of it: it cannot be mapped, and a device cannot be attached to what was
/// mapped before it shrank. The device is blocked then, and nothing is left of the attempt.
pub fn shrunk(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let mut bench = bench(context)?;
    let memfd = Memfd::new(Backing::Small, 3)?;
    let refused = |result: Result<()>, what: &str| match result {
        Err(error) if crate::vfio::errno(&error) == Some(Errno::EINVAL) => Ok(()),
        other => bail!("{what}: {other:?} instead of EINVAL"),
    };
    refused(map(&bench, &memfd, memfd.bytes() + PAGE as u64), "mapping more than the file has")?;
    ensure!(bench.leaf(minihv, at(0))?.is_none(), "a mapping that was refused is in the table");
    map(&bench, &memfd, memfd.bytes())?;
    device_writes(&bench, 0, FROM_DEVICE)?;
    memfd.resize(2)?;

    let id = bench.function.logical_id().context("edu has no logical id")?;
    bench.iommufd()?.0.detach().context("detach")?;
    let domains = Census::take(minihv)?.domains;
    let (cdev, space) = bench.iommufd()?;
    refused(cdev.attach(space.ioas).map_err(Into::into), "attaching to a mapping that the file is too short for")?;
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "translation is {translation:?} after the attach that failed");
    let left = Census::take(minihv)?.domains;
    ensure!(left == domains, "{domains} domains before the attach that failed, {left} after it");
    bench.edu.store(at(0))?;
    bench.faults.expect(&bench.function, at(0), Access::Write)?;

    memfd.resize(3)?;
    let (cdev, space) = bench.iommufd()?;
    cdev.attach(space.ioas).context("attaching when the file is long enough again")?;
    memfd.expect(0, FROM_DEVICE, "the page that the device wrote before the file shrank")?;
    for page in 0..3 {
        both_ways(&bench, &memfd, page)?;
    }
    bench.faults.expect_none()?;
    unmap(&bench, &memfd)?;
    drop(bench);
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass("EINVAL for a mapping and for an attach; blocked meanwhile; attached again".to_owned()))
}
