// SPDX-License-Identifier: GPL-2.0

//! The device's registers, and how the driver makes the device do DMA.
//!
//! The device has a buffer of a page. It copies up to a page between the buffer and any address on
//! the bus. Source: QEMU's documentation, docs/specs/edu.

use kernel::{
    device::Bound,
    dma::DmaAddress,
    io::{
        poll::read_poll_timeout,
        register,
        Io, //
    },
    pci::{
        self,
        bus_master, //
    },
    prelude::*,
    time::Delta, //
};

mod regs {
    use super::register;

    register! {
        pub(super) IDENTIFICATION(u32) @ 0x00 {
            7:0 signature;
        }

        pub(super) DMA_COMMAND(u32) @ 0x98 {
            /// 1: from the buffer to memory. 0: from memory to the buffer.
            1:1 to_memory;
            /// Writing 1 begins a transfer. It reads 1 until the transfer is finished.
            0:0 busy;
        }
    }

    // These registers have 64 bits. The region counts as aligned to 4 bytes, so an access of 64
    // bits is checked at run time, not at build time.
    pub(super) const DMA_SOURCE: usize = 0x80;
    pub(super) const DMA_DESTINATION: usize = 0x88;
    pub(super) const DMA_COUNT: usize = 0x90;

    pub(super) const END: usize = 0xa0;
}

/// The low byte of [`regs::IDENTIFICATION`].
const SIGNATURE: u32 = 0xed;

/// The address of the device's buffer, as the device sees it.
const BUFFER: u64 = 0x40000;

/// How long a transfer may take. The emulator takes a tenth of a second of its own time, but a
/// loaded host may be far slower.
const PATIENCE: Delta = Delta::from_secs(20);
const PAUSE: Delta = Delta::from_millis(5);

/// The length of a transfer, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Length(usize);

impl Length {
    /// The whole of the device's buffer.
    pub(crate) const BUFFER: Length = Length(4096);

    /// `bytes` bytes, or as many as fit into the device's buffer.
    pub(crate) fn at_most(bytes: usize) -> Length {
        Length(bytes.min(Length::BUFFER.0))
    }

    /// The length in bytes.
    pub(crate) fn bytes(self) -> usize {
        self.0
    }
}

/// The direction of a transfer.
#[derive(Clone, Copy)]
enum Direction {
    /// From memory to the device's buffer.
    ToDevice,
    /// From the device's buffer to memory.
    ToMemory,
}

/// The device.
pub(crate) struct Edu<'a> {
    pdev: &'a pci::Device<Bound>,
    bar: pci::Bar<'a, { regs::END }>,
}

impl<'a> Edu<'a> {
    /// Maps the device's registers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device does not say that it is edu. Or the error of mapping the registers.
    pub(crate) fn new(pdev: &'a pci::Device<Bound>) -> Result<Edu<'a>> {
        let bar = pdev.iomap_region_sized::<{ regs::END }>(0, c"rust_edu_dma")?;
        if u32::from(bar.read(regs::IDENTIFICATION).signature()) != SIGNATURE {
            return Err(ENODEV);
        }
        Ok(Edu { pdev, bar })
    }

    /// Makes the device read memory into its buffer.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`]: the device does not finish. Its bus mastering is off then, so the memory may
    /// be freed.
    pub(crate) fn load(&self, from: DmaAddress, length: Length) -> Result {
        self.transfer(from, BUFFER, length, Direction::ToDevice)
    }

    /// Makes the device write the start of its buffer to memory.
    ///
    /// Context and errors: as [`Self::load`].
    pub(crate) fn store(&self, to: DmaAddress, length: Length) -> Result {
        self.transfer(BUFFER, to, length, Direction::ToMemory)
    }

    fn transfer(&self, from: u64, to: u64, length: Length, direction: Direction) -> Result {
        let bar = &self.bar;
        bar.try_write64(from, regs::DMA_SOURCE)?;
        bar.try_write64(to, regs::DMA_DESTINATION)?;
        bar.try_write64(length.bytes() as u64, regs::DMA_COUNT)?;
        let command = regs::DMA_COMMAND::zeroed().with_const_busy::<1>();
        bar.write_reg(match direction {
            Direction::ToDevice => command,
            Direction::ToMemory => command.with_const_to_memory::<1>(),
        });
        read_poll_timeout(
            || Ok(bar.read(regs::DMA_COMMAND)),
            |command| command.busy() == 0,
            PAUSE,
            PATIENCE,
        )
        .inspect_err(|_| bus_master::stop_at_once(self.pdev))?;
        Ok(())
    }
}
