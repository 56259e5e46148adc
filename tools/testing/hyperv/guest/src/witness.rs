// SPDX-License-Identifier: GPL-2.0
//! The witness on which DMA protection is tried: edu, memory, and an I/O address space of user space.
//!
//! The NVMe controller is no witness: the emulated one reports success for data pages that it could not reach.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::Access;

use crate::check::Context;
use crate::edu::Edu;
use crate::faults::Faults;
use crate::iommufd::{Cdev, Space};
use crate::memory::DmaBuffer;
use crate::minihv::{Leaf, Minihv};
use crate::pci::{self, PciFunction};
use crate::session::{BackEnd, Session};

/// Where the checks map, in bytes: above guest RAM, so that no IOVA is its own physical address.
pub const BASE: u64 = 0x20_4000_0000;
/// The same where the I/O address space ends below that: above the RAM of a small guest, below the MSI window.
const NARROW_BASE: u64 = 0xc000_0000;
/// Width from which on [`BASE`] and what is mapped there fits, in bits.
const WIDE: u32 = 38;

/// Whether the I/O address space is a narrow one. Set once, before any check.
static NARROW: AtomicBool = AtomicBool::new(false);

/// Tells how wide the I/O address space is, in bits. Where that is never said, it is wide.
pub fn set_width(bits: u32) {
    NARROW.store(bits < WIDE, Ordering::Relaxed);
}

/// Where the checks map in this guest.
pub fn base() -> u64 {
    match NARROW.load(Ordering::Relaxed) {
        true => NARROW_BASE,
        false => BASE,
    }
}

const PAGE: u64 = crate::memory::PAGE as u64;

/// Byte patterns. All differ, so that a page tells who wrote it last.
pub const SECRET: u8 = 0xa5;
pub const CANARY: u8 = 0x11;
pub const FROM_DEVICE: u8 = 0xd7;
pub const OTHER: u8 = 0x2b;

/// The address of page `page` of the checks' window.
pub fn at(page: u64) -> Iova {
    Iova(base() + page * PAGE)
}

/// edu in a fresh, empty address space of user space, with memory to try on.
pub struct Witness {
    /// The device's sysfs side.
    pub function: PciFunction,
    /// The device.
    pub edu: Edu,
    /// Its address space.
    pub session: Session,
    /// Memory.
    pub buffer: DmaBuffer,
    /// What the IOMMU reports.
    pub faults: Faults,
}

impl Witness {
    /// Binds edu to vfio-pci, opens it with a type 1 container, and allocates `pages` pages.
    ///
    /// # Errors
    /// When a step fails.
    pub fn open(context: &Context<'_>, pages: usize) -> Result<Witness> {
        Witness::open_by(context, BackEnd::Type1, pages)
    }

    /// The same by either interface.
    ///
    /// # Errors
    /// When a step fails.
    pub fn open_by(context: &Context<'_>, back_end: BackEnd, pages: usize) -> Result<Witness> {
        Witness::with_buffer(context, back_end, DmaBuffer::new(pages)?)
    }

    /// The same with memory that is there already.
    ///
    /// # Errors
    /// When a step fails.
    pub fn with_buffer(context: &Context<'_>, back_end: BackEnd, buffer: DmaBuffer) -> Result<Witness> {
        let function = pci::find(pci::EDU)?;
        let session = Session::open_by(&function, back_end)?;
        Witness::new(context, function, session, buffer)
    }

    /// Takes edu, open, with memory to try on.
    ///
    /// # Errors
    /// When a step fails.
    pub fn new(context: &Context<'_>, function: PciFunction, session: Session, buffer: DmaBuffer) -> Result<Witness> {
        session.enable_bus_master()?;
        let edu = Edu::new(session.map_bar0()?)?;
        let faults = Faults::listen(context.minihv)?;
        Ok(Witness { function, edu, session, buffer, faults })
    }

    /// Device and address space, where they are iommufd's.
    ///
    /// # Errors
    /// When they are not.
    pub fn iommufd(&self) -> Result<(&Cdev, &Space)> {
        self.session.iommufd()
    }

    /// The leaf entry that the device's table holds for an address; `None` when it is not mapped.
    ///
    /// # Errors
    /// When the device is in no domain, or minihv does not answer as documented.
    pub fn leaf(&self, minihv: Minihv, iova: Iova) -> Result<Option<Leaf>> {
        let id = self.function.logical_id().context("edu has no logical id")?;
        let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
        minihv.walk(domain, iova)
    }

    /// Puts a pattern into the device's buffer, through a mapping that works.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn arm(&self, through: Iova, page: usize, value: u8) -> Result<()> {
        self.buffer.fill(page, value);
        self.edu.load(through)
    }

    /// The device writes `iova` and is stopped; `page` must keep its content.
    ///
    /// # Errors
    /// When it does not, or no fault is reported.
    pub fn blocked_write(&mut self, iova: Iova, page: usize, what: &str) -> Result<()> {
        self.buffer.fill(page, CANARY);
        self.faults.prepare()?;
        self.edu.store(iova)?;
        self.buffer.expect(page, CANARY, what)?;
        self.faults.expect(&self.function, iova, Access::Write)
    }

    /// The device reads `iova` and is stopped; what it has then must not hold a byte of `page`'s content. `back` is a
    /// mapped address, that of page `back_page`, through which the device's buffer is inspected.
    ///
    /// # Errors
    /// When it holds one, or no fault is reported.
    pub fn blocked_read(&mut self, iova: Iova, page: usize, back: Iova, back_page: usize) -> Result<()> {
        self.arm(back, back_page, OTHER)?;
        self.buffer.fill(page, SECRET);
        self.faults.prepare()?;
        self.edu.load(iova)?;
        self.faults.expect(&self.function, iova, Access::Read)?;
        self.buffer.fill(back_page, CANARY);
        self.edu.store(back)?;
        if self.buffer.count(back_page, CANARY) == PAGE as usize {
            bail!("the device's buffer did not come back: nothing shows what it read");
        }
        match self.buffer.count(back_page, SECRET) {
            0 => Ok(()),
            leaked => bail!("the device read {leaked} bytes through an address that is not mapped"),
        }
    }

    /// The device reads `iova` (page `page`) and writes it back after the page was wiped.
    ///
    /// # Errors
    /// When the page does not hold then what it held before; `what` names it.
    pub fn round_trip(&self, iova: Iova, page: usize, value: u8, what: &str) -> Result<()> {
        self.arm(iova, page, value)?;
        self.buffer.fill(page, 0);
        self.edu.store(iova)?;
        self.buffer.expect(page, value, what)
    }
}
