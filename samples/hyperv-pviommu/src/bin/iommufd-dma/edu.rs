// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! QEMU's educational PCI device (docs/specs/edu in QEMU): it copies up to 4 KiB between a buffer of
//! its own and any address that it is told.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use user_dma::{Iova, Registers};

/// Bytes of a transfer: the size of the device's buffer.
pub const BUFFER_BYTES: usize = 4096;

const IDENTIFICATION: usize = 0x00;
const DMA_SOURCE: usize = 0x80;
const DMA_DESTINATION: usize = 0x88;
const DMA_COUNT: usize = 0x90;
const DMA_COMMAND: usize = 0x98;

/// Bits of `DMA_COMMAND`.
const START: u32 = 1 << 0;
const TO_MEMORY: u32 = 1 << 1;

/// Where the buffer lies in the device's own address space.
const BUFFER: u64 = 0x40000;

/// A transfer takes the device a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// The device.
pub struct Edu(Registers);

impl Edu {
    /// Takes the device's mapped BAR 0.
    ///
    /// # Errors
    /// When it is some other device.
    pub fn new(registers: Registers) -> Result<Edu> {
        let id = registers.read32(IDENTIFICATION);
        ensure!(
            id & 0xff == 0xed,
            "this is no edu device: its first register reads {id:#x}"
        );
        Ok(Edu(registers))
    }

    fn transfer(&self, source: u64, destination: u64, direction: u32) -> Result<()> {
        self.0.write64(DMA_SOURCE, source);
        self.0.write64(DMA_DESTINATION, destination);
        self.0.write64(DMA_COUNT, BUFFER_BYTES as u64);
        self.0.write32(DMA_COMMAND, START | direction);
        let deadline = Instant::now() + PATIENCE;
        while self.0.read32(DMA_COMMAND) & START != 0 {
            if Instant::now() > deadline {
                bail!(
                    "the device does not finish a transfer in {} s",
                    PATIENCE.as_secs()
                );
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The device reads memory into its buffer. It does not tell whether it could.
    ///
    /// # Errors
    /// When it does not finish.
    pub fn read_memory(&self, from: Iova) -> Result<()> {
        self.transfer(from.0, BUFFER, 0)
    }

    /// The device writes its buffer to memory. It does not tell whether it could.
    ///
    /// # Errors
    /// When it does not finish.
    pub fn write_memory(&self, to: Iova) -> Result<()> {
        self.transfer(BUFFER, to.0, TO_MEMORY)
    }
}
