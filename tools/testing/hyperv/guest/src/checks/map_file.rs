// SPDX-License-Identifier: GPL-2.0
//! Memory that iommufd maps from a file. The pages are pinned when they are mapped: what becomes of the file later
//! changes nothing for the device, until they are unmapped.

use anyhow::{bail, ensure, Context as _, Result};
use hvprotocol::faults::Access;
use nix::errno::Errno;

use crate::census::Census;
use crate::check::{Check, Context};
use crate::hotplug::wait_until;
use crate::memfd::{Backing, Memfd};
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::{DeviceTranslation, Leaf, Minihv};
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, CANARY, FROM_DEVICE, OTHER, SECRET};

/// Where a page is mapped by which is seen what the device has read, as a page of the witness's window: behind all others.
pub const WINDOW: u64 = 1 << 16;

/// A witness with the page at [`WINDOW`], which child processes share.
///
/// # Errors
/// When a step fails.
pub fn witness(context: &Context<'_>) -> Result<Witness> {
    let witness = Witness::with_buffer(context, BackEnd::Iommufd, DmaBuffer::shared(1)?)?;
    witness.session.map(at(WINDOW), &witness.buffer, 0, 1)?;
    Ok(witness)
}

/// Maps the first `bytes` bytes of a file from page 0 of the witness's window on.
///
/// # Errors
/// The kernel's errno.
pub fn map(witness: &Witness, memfd: &Memfd, bytes: u64) -> Result<()> {
    let (_, space) = witness.iommufd()?;
    space.iommufd.map_file(space.ioas, at(0), memfd.file(), bytes).context("mapping a file")
}

/// The device reads a page, and its page at [`WINDOW`] shows what.
///
/// # Errors
/// When it is not `value` everywhere.
pub fn device_reads(witness: &Witness, page: usize, value: u8, what: &str) -> Result<()> {
    witness.buffer.fill(0, !value);
    witness.edu.load(at(page as u64))?;
    witness.edu.store(at(WINDOW))?;
    witness.buffer.expect(0, value, what)
}

/// The device writes a page.
///
/// # Errors
/// When it does not finish.
pub fn device_writes(witness: &Witness, page: usize, value: u8) -> Result<()> {
    witness.arm(at(WINDOW), 0, value)?;
    witness.edu.store(at(page as u64))
}

/// The device reads what is written to a page of the file, and who reads the file sees what the device writes.
fn both_ways(witness: &Witness, memfd: &Memfd, page: usize) -> Result<()> {
    memfd.view().fill(page, OTHER);
    device_reads(witness, page, OTHER, "the page of the file that the device reads")?;
    device_writes(witness, page, FROM_DEVICE)?;
    memfd.expect(page, FROM_DEVICE, "the page of the file that the device wrote")
}

fn leaf(witness: &Witness, minihv: Minihv, page: usize) -> Result<Leaf> {
    witness.leaf(minihv, at(page as u64))?.with_context(|| format!("page {page} is not in the table"))
}

/// Each unit is one entry of the table, and points at the file's page.
fn entries(witness: &Witness, minihv: Minihv, memfd: &Memfd, unit: usize) -> Result<Vec<Leaf>> {
    let mut leaves = Vec::new();
    for first in (0..memfd.view().pages()).step_by(unit) {
        let (start, end) = (leaf(witness, minihv, first)?, leaf(witness, minihv, first + unit - 1)?);
        let address = memfd.view().physical(first)?;
        ensure!(start.sends(at(first as u64), address), "page {first}: {start:x?} does not point at {address:x?}");
        ensure!(start == end && start.is_large() == (unit > 1), "{unit} pages at {first}: {start:x?} to {end:x?}");
        leaves.push(start);
    }
    Ok(leaves)
}

/// The device has a page that the file has lost, and not the one that the file has in its place.
fn is_apart(witness: &Witness, memfd: &Memfd, page: usize, kept: u8, how: &str) -> Result<()> {
    memfd.expect(page, 0, &format!("the file's new page where it was {how}"))?;
    device_reads(witness, page, kept, &format!("the device's page where the file was {how}"))?;
    device_writes(witness, page, OTHER)?;
    memfd.expect(page, 0, &format!("the file's new page after the device wrote where it was {how}"))?;
    device_reads(witness, page, OTHER, &format!("the device's page, written, where the file was {how}"))
}

/// The second of three units is taken out of the file, then the file is cut off behind the first one.
fn loses_pages(witness: &Witness, minihv: Minihv, memfd: &Memfd, unit: usize) -> Result<()> {
    let before = entries(witness, minihv, memfd, unit)?;
    let (second, third) = (unit, 2 * unit);
    for page in [second, third] {
        device_writes(witness, page, SECRET)?;
    }
    memfd.punch(1)?;
    memfd.renew(1)?;
    is_apart(witness, memfd, second, SECRET, "punched")?;
    both_ways(witness, memfd, 0).context("beside the hole")?;

    memfd.resize(unit)?;
    device_reads(witness, third, SECRET, "the device's page behind the end of the file")?;
    memfd.resize(3 * unit)?;
    memfd.renew(2)?;
    is_apart(witness, memfd, third, SECRET, "cut off")?;
    both_ways(witness, memfd, 0).context("before the end")?;
    let after = (0..3).map(|number| leaf(witness, minihv, number * unit)).collect::<Result<Vec<_>>>()?;
    ensure!(before == after, "the table was {before:x?} and is {after:x?}, and nobody asked for a change");
    Ok(())
}

/// What was unmapped is out of reach: the file's own pages, and those that were kept for the device alone.
fn out_of_reach(witness: &mut Witness, memfd: &Memfd, unit: usize) -> Result<()> {
    for page in (0..3).map(|number| number * unit) {
        memfd.view().fill(page, CANARY);
        device_writes(witness, page, SECRET)?;
        memfd.expect(page, CANARY, "STALE TRANSLATION: a page of the file after its unmap")?;
        witness.faults.expect(&witness.function, at(page as u64), Access::Write)?;
    }
    witness.faults.expect_none()
}

fn unmap(witness: &Witness, memfd: &Memfd) -> Result<()> {
    witness.session.unmap(at(0), usize::try_from(memfd.bytes())? / PAGE)
}

/// A file's pages are the device's memory, by one entry of the table each. They stay so when the file loses them, and go
/// with the unmap. What is mapped after that is what the file has then.
fn pages(context: &mut Context<'_>, backing: Backing) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let mut witness = witness(context)?;
    let (unit, memfd) = (backing.unit(), Memfd::new(backing, 3)?);
    let pinned = Census::take(minihv)?.pinned;
    map(&witness, &memfd, memfd.bytes())?;
    for page in [0, unit - 1, unit, 3 * unit - 1] {
        both_ways(&witness, &memfd, page)?;
    }
    loses_pages(&witness, minihv, &memfd, unit)?;
    witness.faults.expect_none()?;
    unmap(&witness, &memfd)?;
    wait_until("the file's pages are no longer pinned", || Ok(Census::take(minihv)?.pinned == pinned))?;
    out_of_reach(&mut witness, &memfd, unit)?;

    map(&witness, &memfd, memfd.bytes()).context("once more")?;
    entries(&witness, minihv, &memfd, unit)?;
    for page in [0, unit, 3 * unit - 1] {
        both_ways(&witness, &memfd, page)?;
    }
    witness.faults.expect_none()?;
    // The file goes before the device's mapping does.
    drop(memfd);
    drop(witness);
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("3 entries of {} KiB; punched, cut off, unmapped, mapped again", unit * PAGE >> 10)))
}

pub const FILE_SMALL: Check = Check::new("file-of-small-pages", |c| pages(c, Backing::Small));
pub const FILE_HUGE: Check = Check::new("file-of-huge-pages", |c| pages(c, Backing::Huge));
pub const FILE_TRANSPARENT: Check = Check::new("file-of-transparent-huge-pages", |c| pages(c, Backing::Transparent));

/// A file that is shorter than what is mapped of it: it cannot be mapped, and a device cannot be attached to what was
/// mapped before it shrank. The device is blocked then, and nothing is left of the attempt.
fn shrunk(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let mut witness = witness(context)?;
    let memfd = Memfd::new(Backing::Small, 3)?;
    let refused = |result: Result<()>, what: &str| match result {
        Err(error) if crate::vfio::errno(&error) == Some(Errno::EINVAL) => Ok(()),
        other => bail!("{what}: {other:?} instead of EINVAL"),
    };
    refused(map(&witness, &memfd, memfd.bytes() + PAGE as u64), "mapping more than the file has")?;
    ensure!(witness.leaf(minihv, at(0))?.is_none(), "a mapping that was refused is in the table");
    map(&witness, &memfd, memfd.bytes())?;
    device_writes(&witness, 0, FROM_DEVICE)?;
    memfd.resize(2)?;

    let id = witness.function.logical_id().context("edu has no logical id")?;
    witness.iommufd()?.0.detach().context("detach")?;
    let domains = Census::take(minihv)?.domains;
    let (cdev, space) = witness.iommufd()?;
    refused(cdev.attach(space.ioas).map_err(Into::into), "attaching to a mapping that the file is too short for")?;
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "translation is {translation:?} after the attach that failed");
    let left = Census::take(minihv)?.domains;
    ensure!(left == domains, "{domains} domains before the attach that failed, {left} after it");
    witness.edu.store(at(0))?;
    witness.faults.expect(&witness.function, at(0), Access::Write)?;

    memfd.resize(3)?;
    let (cdev, space) = witness.iommufd()?;
    cdev.attach(space.ioas).context("attaching when the file is long enough again")?;
    memfd.expect(0, FROM_DEVICE, "the page that the device wrote before the file shrank")?;
    for page in 0..3 {
        both_ways(&witness, &memfd, page)?;
    }
    witness.faults.expect_none()?;
    unmap(&witness, &memfd)?;
    drop(witness);
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass("EINVAL for a mapping and for an attach; blocked meanwhile; attached again".to_owned()))
}

pub const FILE_SHRUNK: Check = Check::new("file-that-shrank", shrunk);
