// SPDX-License-Identifier: GPL-2.0
//! An NVMe controller in the hands of this program, as far as its admin queue: enough for it to read commands from
//! memory and to write data there.

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;

use crate::hotplug::wait_until;
use crate::memory::{DmaBuffer, PAGE};
use crate::mmio::MappedBar;
use crate::pci::PciFunction;
use crate::session::Session;

mod register {
    pub const CONFIGURATION: usize = 0x14;
    pub const STATUS: usize = 0x1c;
    pub const ADMIN_QUEUE_SIZES: usize = 0x24;
    pub const ADMIN_SUBMISSION: usize = 0x28;
    pub const ADMIN_COMPLETION: usize = 0x30;
    /// QEMU's doorbells lie next to each other.
    pub const SUBMISSION_TAIL: usize = 0x1000;
}

/// CC: enabled, entries of 64 and of 16 bytes.
const ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;
/// Entries of each queue.
const ENTRIES: u32 = 4;
const IDENTIFY: u64 = 0x06;
const COMMAND_ID: u64 = 0x5a;
/// What IDENTIFY is to tell about: the controller.
const CONTROLLER: u64 = 1;

/// Pages of memory that [`identify`] uses: both queues and the data.
pub const PAGES: usize = 3;

fn set_enabled(bar: &MappedBar, configuration: u32) -> Result<()> {
    bar.write32(register::CONFIGURATION, configuration);
    let ready = configuration & READY;
    wait_until("the controller switches on or off", || Ok(bar.read32(register::STATUS) & READY == ready))
}

/// Has the controller identify itself into memory that is mapped at `iova`: pages `0..PAGES` of `buffer`.
///
/// # Errors
/// When it does not, or says that it is another one.
pub fn identify(session: &Session, function: &PciFunction, iova: Iova, buffer: &DmaBuffer) -> Result<()> {
    session.enable_bus_master()?;
    let bar = session.map_bar0()?;
    let address = |page: usize| iova.0 + (page * PAGE) as u64;
    for page in 0..PAGES {
        buffer.fill(page, 0);
    }
    set_enabled(&bar, 0)?;
    bar.write32(register::ADMIN_QUEUE_SIZES, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    bar.write64(register::ADMIN_SUBMISSION, address(0));
    bar.write64(register::ADMIN_COMPLETION, address(1));
    set_enabled(&bar, ENABLED)?;

    buffer.set_word(0, 0, IDENTIFY | COMMAND_ID << 16);
    buffer.set_word(0, 3, address(2));
    buffer.set_word(0, 5, CONTROLLER);
    bar.write32(register::SUBMISSION_TAIL, 1);
    // Command id 15:0, phase 16, status 31:17 of the second word's upper half.
    let answer = || buffer.word(1, 1) >> 32;
    wait_until("the controller answers", || Ok(answer() & 1 << 16 != 0)).context("IDENTIFY")?;
    set_enabled(&bar, 0)?;
    if answer() != COMMAND_ID | 1 << 16 {
        bail!("IDENTIFY: answer {:#x}", answer());
    }
    let vendor = buffer.word(2, 0) & 0xffff;
    if vendor != u64::from(function.id.vendor) {
        bail!("IDENTIFY: vendor {vendor:#x} instead of {:#x}", function.id.vendor);
    }
    Ok(())
}
