// SPDX-License-Identifier: GPL-2.0
//! Device memory as a target of DMA: one edu reads and writes the registers of another one.
//!
//! Neither the driver nor the IOMMU core tells RAM from device memory: what is mapped for user space gets an entry in
//! the I/O page table. Whether the host lets a device reach another one is the host's business.

use std::fs::File;

use anyhow::{bail, Context as _, Result};
use hvprotocol::faults::Access;
use nix::errno::Errno;

use crate::check::{Check, Context};
use crate::edu::{self, Edu};
use crate::memory::PAGE;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, Witness};

/// Words that the register of the second edu is given, by processor and by DMA.
const BY_PROCESSOR: u32 = 0x5e1f_1111;
const BY_DEVICE: u32 = 0xd04e_4444;
const LAST: u32 = 0x7777_8888;

/// Where the memory and the other device's registers are mapped, as pages of the witness's window.
const MEMORY: u64 = 0;
const REGISTERS: u64 = 256;

/// The second edu, open by either interface, in an address space of its own.
struct Peer {
    edu: Edu,
    session: Session,
}

impl Peer {
    fn open(witness: &Witness, back_end: BackEnd) -> Result<Peer> {
        let is_other = |f: &PciFunction| f.id == pci::EDU && f.address != witness.function.address;
        let function = pci::all()?.into_iter().find(is_other).context("the guest has no second edu")?;
        let session = Session::open_by(&function, back_end)?;
        session.enable_bus_master()?;
        Ok(Peer { edu: Edu::new(session.map_bar0()?)?, session })
    }

    /// Its memory as a dma-buf.
    fn export(&self) -> Result<File> {
        self.session.device().export_bar0(edu::BAR_BYTES as u64).context("exporting a BAR as dma-buf")
    }
}

/// The first edu reads the peer's register, and writes it.
fn both_ways(witness: &Witness, peer: &Peer) -> Result<()> {
    let word = edu::SCRATCH / 8;
    peer.edu.set_scratch(BY_PROCESSOR);
    witness.buffer.fill(0, 0);
    witness.edu.load(at(REGISTERS))?;
    witness.edu.store(at(MEMORY))?;
    let read = witness.buffer.word(0, word);
    if read != u64::from(BY_PROCESSOR) {
        bail!("the register holds {BY_PROCESSOR:#x}, the other device reads {read:#x}");
    }
    write_register(witness, BY_DEVICE)?;
    let written = peer.edu.scratch();
    if written != BY_DEVICE {
        bail!("the other device wrote {BY_DEVICE:#x}, the register holds {written:#x}");
    }
    Ok(())
}

/// The first edu writes a page to the peer's registers that has `value` for the scratch register, else zeroes, which
/// no register takes for a command.
fn write_register(witness: &Witness, value: u32) -> Result<()> {
    witness.buffer.fill(0, 0);
    witness.buffer.set_word(0, edu::SCRATCH / 8, u64::from(value));
    witness.edu.load(at(MEMORY))?;
    witness.edu.store(at(REGISTERS))
}

/// The first edu no longer gets at the peer's registers.
fn out_of_reach(witness: &mut Witness, peer: &Peer) -> Result<()> {
    peer.edu.set_scratch(BY_PROCESSOR);
    witness.faults.prepare()?;
    write_register(witness, LAST)?;
    witness.faults.expect(&witness.function, at(REGISTERS), Access::Write)?;
    let seen = peer.edu.scratch();
    if seen != BY_PROCESSOR {
        bail!("STALE TRANSLATION: the register was {BY_PROCESSOR:#x} and is {seen:#x} after the unmap");
    }
    Ok(())
}

/// What the table holds for the peer's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Present,
    Absent,
}

/// The table holds an entry for the peer's registers, or none.
fn in_table(context: &Context<'_>, witness: &Witness, expected: Entry) -> Result<()> {
    let Some(minihv) = context.minihv else { return Ok(()) };
    let seen = witness.leaf(minihv, at(REGISTERS))?;
    if seen.is_some() != (expected == Entry::Present) {
        bail!("the entry for the other device's registers is {seen:x?}, not {expected:?}");
    }
    Ok(())
}

/// Type 1 maps another device's BAR like memory, by its address in this process. The mapping lasts until it is
/// unmapped, whatever becomes of the other device.
fn by_address(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open(context, 1)?;
    witness.session.map(at(MEMORY), &witness.buffer, 0, 1)?;
    let peer = Peer::open(&witness, BackEnd::Type1)?;
    let registers = peer.session.map_bar0()?;
    witness.session.map_range(at(REGISTERS), registers.range()).context("mapping a BAR")?;
    both_ways(&witness, &peer)?;
    witness.faults.expect_none()?;
    witness.session.unmap(at(REGISTERS), edu::BAR_BYTES / PAGE)?;
    out_of_reach(&mut witness, &peer)?;

    witness.session.map_range(at(REGISTERS), registers.range()).context("mapping a BAR again")?;
    drop(registers);
    drop(peer);
    in_table(context, &witness, Entry::Present)?;
    witness.session.unmap(at(REGISTERS), edu::BAR_BYTES / PAGE)?;
    in_table(context, &witness, Entry::Absent)?;
    Ok(Outcome::Pass("read and written by the other device; until unmapped, even after its close".to_owned()))
}

pub const TYPE1_BAR: Check = Check::new("vfio-device-memory", by_address);

/// iommufd refuses to map a BAR by its address: it could not take the mapping back when the BAR goes away.
fn by_address_refused(context: &mut Context<'_>) -> Result<Outcome> {
    let witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
    let peer = Peer::open(&witness, BackEnd::Iommufd)?;
    let registers = peer.session.map_bar0()?;
    match witness.session.map_range(at(REGISTERS), registers.range()) {
        Err(Errno::EFAULT) => Ok(Outcome::Pass("EFAULT".to_owned())),
        other => bail!("mapping a BAR by its address: {other:?} instead of EFAULT"),
    }
}

pub const CDEV_BAR_REFUSED: Check = Check::new("cdev-device-memory-by-address-refused", by_address_refused);

/// iommufd maps a BAR as a dma-buf, and loses it when the other device is closed: out of reach at once.
fn by_dma_buf(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
    witness.session.map(at(MEMORY), &witness.buffer, 0, 1)?;
    let peer = Peer::open(&witness, BackEnd::Iommufd)?;
    let bytes = edu::BAR_BYTES as u64;
    let pages = edu::BAR_BYTES / PAGE;
    let exported = peer.export()?;
    let map = |witness: &Witness, file: &File| -> Result<()> {
        let (_, space) = witness.iommufd()?;
        space.iommufd.map_file(space.ioas, at(REGISTERS), file, bytes).context("mapping a dma-buf")
    };
    map(&witness, &exported)?;
    both_ways(&witness, &peer)?;
    witness.faults.expect_none()?;
    witness.session.unmap(at(REGISTERS), pages)?;
    out_of_reach(&mut witness, &peer)?;

    map(&witness, &exported)?;
    both_ways(&witness, &peer)?;
    // Closed, the device takes its memory back, mapped as it is.
    drop(peer);
    witness.faults.prepare()?;
    write_register(&witness, LAST)?;
    witness.faults.expect(&witness.function, at(REGISTERS), Access::Write)?;
    in_table(context, &witness, Entry::Absent)?;
    witness.session.unmap(at(REGISTERS), pages).context("unmapping what was taken back")?;
    match map(&witness, &exported) {
        Err(error) if crate::vfio::errno(&error) == Some(Errno::ENODEV) => {}
        other => bail!("mapping the memory of a device that was closed: {other:?} instead of ENODEV"),
    }
    Ok(Outcome::Pass("read and written by the other device; out of reach after unmap and after its close".to_owned()))
}

pub const CDEV_DMA_BUF: Check = Check::new("cdev-device-memory-by-dma-buf", by_dma_buf);
