// SPDX-License-Identifier: GPL-2.0
//! DMA protection, tried with edu: what is mapped works, what is not does not, and is reported.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::Access;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::caches::CACHES_CLEAN;
use crate::checks::counters::{COUNTERS, NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::{NVME_FIO, NVME_IOVA, NVME_QUICK};
use crate::checks::virtio::VIRTIO;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::memory::DmaBuffer;
use crate::pci::{self};
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, base, Witness, CANARY, FROM_DEVICE, OTHER, SECRET};

/// Mapped addresses work in both directions.
pub fn mapped(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 3)?;
    witness.session.map(at(0), &witness.buffer, 0, 3)?;
    for page in 0..3 {
        witness.round_trip(at(page as u64), page, FROM_DEVICE ^ page as u8, "the page that the device wrote")?;
    }
    witness.faults.expect_none()?;
    Ok(Outcome::Pass(format!("IOVA {:#x}, 3 pages", base())))
}

pub const VFIO_MAPPED: Check = Check::new("vfio-mapped-both-ways", |c| mapped(c, BackEnd::Type1));
pub const CDEV_MAPPED: Check = Check::new("cdev-mapped-both-ways", |c| mapped(c, BackEnd::Iommufd));

/// Addresses that were never mapped are out of reach: neighbours of a mapping, and the memory's physical address.
fn unmapped(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 3)?;
    witness.session.map(at(8), &witness.buffer, 0, 1)?;
    let physical = witness.buffer.physical(1)?;
    for iova in [at(9), at(7), Iova(physical.0)] {
        witness.arm(at(8), 0, FROM_DEVICE)?;
        witness.blocked_write(iova, 1, "a page that is not mapped")?;
        witness.blocked_read(iova, 1, at(8), 0)?;
    }
    witness.faults.expect_none()?;
    Ok(Outcome::Pass("3 addresses, read and write, 6 faults reported".to_owned()))
}

pub const VFIO_UNMAPPED: Check = Check::new("vfio-unmapped-is-blocked", |c| unmapped(c, BackEnd::Type1));
pub const CDEV_UNMAPPED: Check = Check::new("cdev-unmapped-is-blocked", |c| unmapped(c, BackEnd::Iommufd));

/// A translation that the device has used is gone as soon as it is unmapped.
fn stale(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 3)?;
    // Sizes that need descriptors of different reach; every page is warmed and tried.
    for (first, count) in [(16, 1), (33, 2)] {
        witness.session.map(at(first), &witness.buffer, 0, count)?;
        for page in 0..count {
            witness.round_trip(at(first + page as u64), page, FROM_DEVICE, "the page while it was mapped")?;
        }
        witness.session.unmap(at(first), count)?;
        for page in 0..count {
            witness.blocked_write(at(first + page as u64), page, "STALE TRANSLATION: a page after its unmap")?;
        }
    }
    Ok(Outcome::Pass("1 and 2 pages, warmed, unmapped, blocked".to_owned()))
}

pub const VFIO_STALE: Check = Check::new("vfio-unmap-flushes", |c| stale(c, BackEnd::Type1));
pub const CDEV_STALE: Check = Check::new("cdev-unmap-flushes", |c| stale(c, BackEnd::Iommufd));

/// The same address mapped to other memory reaches the new memory only.
fn remap(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 2)?;
    witness.session.map(at(40), &witness.buffer, 0, 1)?;
    witness.round_trip(at(40), 0, OTHER, "the first page")?;
    witness.session.unmap(at(40), 1)?;
    witness.session.map(at(40), &witness.buffer, 1, 1)?;
    witness.buffer.fill(0, CANARY);
    witness.buffer.fill(1, 0);
    witness.edu.store(at(40))?;
    witness.buffer.expect(0, CANARY, "STALE TRANSLATION: the old page after the remap")?;
    witness.buffer.expect(1, OTHER, "the new page")?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass(String::new()))
}

pub const VFIO_REMAP: Check = Check::new("vfio-remap-reaches-new-memory", |c| remap(c, BackEnd::Type1));
pub const CDEV_REMAP: Check = Check::new("cdev-remap-reaches-new-memory", |c| remap(c, BackEnd::Iommufd));

/// Unmapping one page leaves the ones on both sides usable.
fn neighbour(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 3)?;
    for page in 0..3 {
        witness.session.map(at(50 + page), &witness.buffer, page as usize, 1)?;
    }
    for page in 0..3 {
        witness.round_trip(at(50 + page as u64), page, OTHER, "before the unmap")?;
    }
    witness.session.unmap(at(51), 1)?;
    witness.round_trip(at(50), 0, FROM_DEVICE, "the page below the unmapped one")?;
    witness.round_trip(at(52), 2, SECRET, "the page above the unmapped one")?;
    witness.blocked_write(at(51), 1, "STALE TRANSLATION: the unmapped page")?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass(String::new()))
}

pub const VFIO_NEIGHBOUR: Check = Check::new("vfio-unmap-spares-neighbour", |c| neighbour(c, BackEnd::Type1));
pub const CDEV_NEIGHBOUR: Check = Check::new("cdev-unmap-spares-neighbour", |c| neighbour(c, BackEnd::Iommufd));

/// The table that the hypervisor was given holds the pages' physical addresses, which are not the IOVAs.
fn table_walk(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv to walk the table".to_owned())) };
    let witness = Witness::open(context, 2)?;
    let id = witness.function.logical_id().context("edu has no logical id")?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    witness.session.map(at(60), &witness.buffer, 0, 2)?;
    for page in 0..2 {
        let (iova, physical) = (at(60 + page as u64), witness.buffer.physical(page)?);
        let leaf = minihv.walk(domain, iova)?.with_context(|| format!("{:#x} is not in the table", iova.0))?;
        if !leaf.sends(iova, physical) {
            bail!("{:#x}: the table says {:#x}, the page is at {:#x}", iova.0, leaf.0, physical.0);
        }
        context.reporter.note(&format!("IOVA {:#x} -> physical {:#x} (domain {})", iova.0, physical.0, domain.0));
    }
    witness.session.unmap(at(60), 2)?;
    for page in 60..62 {
        if let Some(leaf) = minihv.walk(domain, at(page))? {
            bail!("{:#x} is still in the table after its unmap: {:#x}", at(page).0, leaf.0);
        }
    }
    Ok(Outcome::Pass(String::new()))
}

pub const VFIO_WALK: Check = Check::new("vfio-table-holds-physical-address", table_walk);

/// Without VFIO: in its default domain, where nothing is mapped, the device reaches no memory.
fn raw_unmapped(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    function.unbind()?;
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let mut faults = Faults::listen(context.minihv)?;
    let buffer = DmaBuffer::new(1)?;
    let physical = Iova(buffer.physical(0)?.0);
    for iova in [physical, at(0)] {
        buffer.fill(0, CANARY);
        faults.prepare()?;
        edu.load(iova)?;
        faults.expect(&function, iova, Access::Read)?;
        faults.prepare()?;
        edu.store(iova)?;
        faults.expect(&function, iova, Access::Write)?;
        buffer.expect(0, CANARY, "memory that was never mapped for the device")?;
    }
    faults.expect_none()?;
    Ok(Outcome::Pass("physical and unused address, read and write, 4 faults reported".to_owned()))
}

pub const RAW_BLOCKED: Check = Check::new("edu-unmapped-is-blocked", raw_unmapped);

/// The scenarios. The fault check comes before those that cause faults on purpose.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "main",
        summary: "fio on NVMe, translation and protection (what `make run` shows)",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_FIO,
            NVME_IOVA,
            VIRTIO,
            COUNTERS,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "dma",
        summary: "the same with a short NVMe check instead of fio",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            NVME_IOVA,
            VIRTIO,
            COUNTERS,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            CACHES_CLEAN,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "edu",
        summary: "translation and protection, by edu alone",
        checks: &[DEVICES, GROUPS, NO_FAULTS, RAW_BLOCKED, VFIO_MAPPED, VFIO_UNMAPPED, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "stale",
        summary: "only the stale-translation checks (the runner's test of the tests expects them to fail)",
        checks: &[DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE],
    },
];
