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
    pub const RAISE: usize = 0x60;
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

/// Length of a transfer: 1 to 4096 bytes. QEMU's model does not check it against its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(u16);

impl Length {
    /// All of the device's buffer.
    pub const PAGE: Length = Length(PAGE as u16);

    /// So many bytes.
    ///
    /// # Errors
    /// When the device's buffer does not hold them.
    pub fn new(bytes: usize) -> Result<Length> {
        match bytes {
            1..=PAGE => Ok(Length(bytes as u16)),
            _ => bail!("edu cannot transfer {bytes} bytes"),
        }
    }
}

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
        let edu = Edu { bar };
        if !edu.is_there() {
            bail!("BAR 0 does not look like edu: identification {:#x}", edu.identification());
        }
        Ok(edu)
    }

    fn identification(&self) -> u32 {
        self.bar.read32(register::IDENTIFICATION)
    }

    /// Whether the registers can be reached.
    pub fn is_there(&self) -> bool {
        self.identification() & 0xff == 0xed
    }

    /// Writes [`SCRATCH`].
    pub fn set_scratch(&self, value: u32) {
        self.bar.write64(SCRATCH, u64::from(value));
    }

    /// Reads the lower half of [`SCRATCH`].
    pub fn scratch(&self) -> u32 {
        self.bar.read32(SCRATCH)
    }

    /// Has the device signal an interrupt, which it does at once.
    pub fn raise_interrupt(&self) {
        self.bar.write32(register::RAISE, 1);
    }

    fn start(&self, source: u64, destination: u64, length: Length, command: u32) {
        self.bar.write64(register::SOURCE, source);
        self.bar.write64(register::DESTINATION, destination);
        self.bar.write64(register::COUNT, u64::from(length.0));
        self.bar.write32(register::COMMAND, START | command);
    }

    /// Whether a transfer is still to come. It is carried out at once, some 100 ms after it was started.
    pub fn is_busy(&self) -> bool {
        self.bar.read32(register::COMMAND) & START != 0
    }

    /// Waits until the transfer that was started is over.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn finish(&self) -> Result<()> {
        let start = Instant::now();
        self.finish_with(start, || std::thread::sleep(Duration::from_millis(5)))?;
        remark_wait(start, "a transfer of edu");
        Ok(())
    }

    /// The same without sleeping.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn finish_awake(&self) -> Result<()> {
        self.finish_with(Instant::now(), std::hint::spin_loop)
    }

    /// Does `pause` until the transfer is over, which has been waited for since `start`.
    fn finish_with(&self, start: Instant, pause: impl Fn()) -> Result<()> {
        while self.is_busy() {
            if start.elapsed() > PATIENCE {
                bail!("edu does not finish its transfer in {} s", PATIENCE.as_secs());
            }
            pause();
        }
        Ok(())
    }

    /// The device begins to write the start of its buffer to `to`.
    pub fn start_store(&self, to: Iova, length: Length) {
        self.start(BUFFER, to.0, length, TO_MEMORY);
    }

    /// The device reads from `from` into the start of its buffer.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn load_bytes(&self, from: Iova, length: Length) -> Result<()> {
        self.start(from.0, BUFFER, length, 0);
        self.finish()
    }

    /// The device writes the start of its buffer to `to`.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn store_bytes(&self, to: Iova, length: Length) -> Result<()> {
        self.start_store(to, length);
        self.finish()
    }

    /// The device reads the page at `from` into its buffer.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn load(&self, from: Iova) -> Result<()> {
        self.load_bytes(from, Length::PAGE)
    }

    /// The device writes its buffer to the page at `to`.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn store(&self, to: Iova) -> Result<()> {
        self.store_bytes(to, Length::PAGE)
    }
}
