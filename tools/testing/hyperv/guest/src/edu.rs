// SPDX-License-Identifier: GPL-2.0
//! QEMU's educational PCI device (docs/specs/edu in QEMU): DMA of up to 4 KiB between its buffer and any address.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use hvcore::ids::Iova;

use crate::memory::PAGE;
use crate::mmio::MappedBar;
use crate::report::remark_wait;

/// Bytes of BAR 0.
pub const BAR_BYTES: usize = 1 << 20;

mod register {
    pub const IDENTIFICATION: usize = 0x00;
    pub const SOURCE: usize = 0x80;
    pub const DESTINATION: usize = 0x88;
    pub const COUNT: usize = 0x90;
    pub const COMMAND: usize = 0x98;
}

/// Offset in BAR 0 of a register that keeps what is written to it: the source address of the next transfer. Its lower
/// 32 bits can be read in an access of their own, its upper ones cannot.
pub const SCRATCH: usize = register::SOURCE;

/// Where the device's buffer lies in its own address space.
const BUFFER: u64 = 0x40000;
const START: u32 = 1;
const TO_MEMORY: u32 = 2;

/// A transfer takes 100 ms of the emulator's time; a loaded host may be far slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// The device, whoever mapped its registers.
pub struct Edu {
    bar: MappedBar,
}

impl Edu {
    /// Takes the mapped BAR 0.
    ///
    /// # Errors
    /// When it does not look like edu.
    pub fn new(bar: MappedBar) -> Result<Edu> {
        let id = bar.read32(register::IDENTIFICATION);
        if id & 0xff != 0xed {
            bail!("BAR 0 does not look like edu: identification {id:#x}");
        }
        Ok(Edu { bar })
    }

    /// Writes [`SCRATCH`].
    pub fn set_scratch(&self, value: u32) {
        self.bar.write64(SCRATCH, u64::from(value));
    }

    /// Reads the lower half of [`SCRATCH`].
    pub fn scratch(&self) -> u32 {
        self.bar.read32(SCRATCH)
    }

    fn transfer(&self, source: u64, destination: u64, command: u32) -> Result<()> {
        self.bar.write64(register::SOURCE, source);
        self.bar.write64(register::DESTINATION, destination);
        self.bar.write64(register::COUNT, PAGE as u64);
        self.bar.write32(register::COMMAND, START | command);
        let start = Instant::now();
        while self.bar.read32(register::COMMAND) & START != 0 {
            if start.elapsed() > PATIENCE {
                bail!("edu does not finish its transfer in {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        remark_wait(start, "a transfer of edu");
        Ok(())
    }

    /// The device reads the page at `from` into its buffer.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn load(&self, from: Iova) -> Result<()> {
        self.transfer(from.0, BUFFER, 0)
    }

    /// The device writes its buffer to the page at `to`.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn store(&self, to: Iova) -> Result<()> {
        self.transfer(BUFFER, to.0, TO_MEMORY)
    }
}
