// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! An NVMe controller: start, identification, one pair of I/O queues, reading and writing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use user_dma::{Device, Iova, Memory, PageSize, Registers, Space};

use crate::queue::{Command, Place, QueuePair, ENTRIES};

/// Offsets in BAR 0.
mod register {
    pub const CAPABILITIES: usize = 0x00;
    pub const CONFIGURATION: usize = 0x14;
    pub const STATUS: usize = 0x1c;
    pub const ADMIN_QUEUE_SIZES: usize = 0x24;
    pub const ADMIN_SUBMISSION: usize = 0x28;
    pub const ADMIN_COMPLETION: usize = 0x30;
}

mod admin {
    pub const CREATE_SUBMISSION: u8 = 0x01;
    pub const CREATE_COMPLETION: u8 = 0x05;
    pub const IDENTIFY: u8 = 0x06;
    pub const SET_FEATURES: u8 = 0x09;
}

mod io {
    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
}

/// Configuration: 4 KiB pages, entries of 64 and 16 bytes, the NVM command set.
const ENABLED: u32 = 4 << 20 | 6 << 16 | 1;
/// Configuration: an orderly end.
const SHUT_DOWN: u32 = 1 << 14;

/// What is in the memory that the controller is given, in bytes from its start.
mod layout {
    pub const ADMIN: usize = 0;
    pub const IO: usize = 0x2000;
    /// The controller's answer to IDENTIFY.
    pub const IDENTITY: usize = 0x4000;
    /// The list of the data's pages behind the first one.
    pub const PAGE_LIST: usize = 0x5000;
    pub const DATA: usize = 0x6000;
    pub const PAGES: usize = DATA / super::PAGE + super::DATA_BYTES / super::PAGE;
}

const PAGE: usize = 4096;
/// The most that one command transfers, if the controller does not want less.
const DATA_BYTES: usize = 128 << 10;
/// Where the memory is mapped.
const BASE: Iova = Iova(0x10_0000);

/// What the controller says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// The most that one command may transfer, in bytes.
    pub transfer_bytes: usize,
}

/// A namespace: a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number, from 1.
    pub id: u32,
    /// Number of blocks.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_bytes: usize,
}

/// The controller, running.
pub struct Controller {
    registers: Registers,
    memory: Memory,
    admin: QueuePair,
    io: QueuePair,
    identity: Identity,
    // Open as long as this value lives.
    _device: Device,
    _space: Space,
}

/// Disables the controller and waits until it is.
fn stop(registers: &Registers) -> Result<()> {
    registers.write32(register::CONFIGURATION, 0);
    wait(registers, "disable", |status| status & 1 == 0)
}

/// Waits until the controller's status is as wanted.
fn wait(registers: &Registers, what: &str, wanted: impl Fn(u32) -> bool) -> Result<()> {
    // In units of half a second.
    let limit = registers.read64(register::CAPABILITIES) >> 24 & 0xff;
    let deadline = Instant::now() + Duration::from_millis(500 * (limit + 1));
    while !wanted(registers.read32(register::STATUS)) {
        if Instant::now() > deadline {
            let status = registers.read32(register::STATUS);
            bail!("the controller does not {what} itself; its status is {status:#x}");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Text as IDENTIFY has it, padded by blanks.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

impl Controller {
    /// Takes the controller at a PCI address and starts it, with one pair of I/O queues.
    ///
    /// # Errors
    /// When the device cannot be had, is no NVMe controller, or does not do as it should.
    pub fn start(address: &str) -> Result<Controller> {
        let space = Space::new()?;
        let device = Device::open(address, &space)?;
        let registers = device.map_bar0()?;
        let capabilities = registers.read64(register::CAPABILITIES);
        ensure!(
            capabilities >> 37 & 1 == 1,
            "no NVMe controller: capabilities {capabilities:#x}"
        );
        ensure!(
            capabilities >> 48 & 0xf == 0,
            "the controller does not take 4 KiB pages"
        );
        ensure!(
            capabilities & 0xffff >= u64::from(ENTRIES - 1),
            "the controller's queues are small"
        );
        let stride = 4 << (capabilities >> 32 & 0xf);

        stop(&registers)?;
        // Zeroed: no completion has the phase bit of the first round.
        let memory = Memory::allocate(PageSize::Small, layout::PAGES)?;
        space.map(BASE, &memory)?;
        let admin = Place {
            number: 0,
            offset: layout::ADMIN,
            stride,
        };
        let [submission, completion] = QueuePair::addresses(admin, BASE);
        let size = u32::from(ENTRIES - 1);
        registers.write32(register::ADMIN_QUEUE_SIZES, size << 16 | size);
        registers.write64(register::ADMIN_SUBMISSION, submission.0);
        registers.write64(register::ADMIN_COMPLETION, completion.0);
        registers.write32(register::CONFIGURATION, ENABLED);
        wait(&registers, "enable", |status| status & 1 == 1)?;

        let io = Place {
            number: 1,
            offset: layout::IO,
            stride,
        };
        let mut controller = Controller {
            registers,
            memory,
            admin: QueuePair::new(admin),
            io: QueuePair::new(io),
            identity: Identity {
                model: String::new(),
                serial: String::new(),
                transfer_bytes: 0,
            },
            _device: device,
            _space: space,
        };
        controller.identity = controller.identify_controller()?;
        controller.create_io_queues(io)?;
        Ok(controller)
    }

    fn command(&mut self, command: Command) -> Result<()> {
        self.admin.run(&self.memory, &self.registers, command)
    }

    /// The answer to an IDENTIFY command.
    fn identify(&mut self, namespace: u32, what: u32) -> Result<Vec<u8>> {
        let data = [(BASE + layout::IDENTITY as u64).0, 0];
        let arguments = [what, 0, 0];
        self.command(Command {
            opcode: admin::IDENTIFY,
            namespace,
            data,
            arguments,
        })?;
        Ok(self.memory.read(layout::IDENTITY, PAGE))
    }

    fn identify_controller(&mut self) -> Result<Identity> {
        let data = self.identify(0, 1).context("identifying the controller")?;
        let transfer_bytes = match data[77] {
            // A power of two of pages; 0 is no limit.
            0 => DATA_BYTES,
            shift => PAGE
                .checked_shl(u32::from(shift))
                .map_or(DATA_BYTES, |n| n.min(DATA_BYTES)),
        };
        Ok(Identity {
            serial: text(&data[4..24]),
            model: text(&data[24..64]),
            transfer_bytes,
        })
    }

    fn create_io_queues(&mut self, place: Place) -> Result<()> {
        const NUMBER_OF_QUEUES: u32 = 7;
        const CONTIGUOUS: u32 = 1;
        let [submission, completion] = QueuePair::addresses(place, BASE);
        let number = u32::from(place.number);
        let size_and_number = u32::from(ENTRIES - 1) << 16 | number;
        // One pair: numbers count from 0.
        let queues = [NUMBER_OF_QUEUES, 0, 0];
        let set = Command {
            opcode: admin::SET_FEATURES,
            arguments: queues,
            ..Default::default()
        };
        self.command(set).context("asking for I/O queues")?;
        self.command(Command {
            opcode: admin::CREATE_COMPLETION,
            data: [completion.0, 0],
            // Without interrupts: completions are looked for.
            arguments: [size_and_number, CONTIGUOUS, 0],
            ..Default::default()
        })
        .context("creating the I/O completion queue")?;
        self.command(Command {
            opcode: admin::CREATE_SUBMISSION,
            data: [submission.0, 0],
            arguments: [size_and_number, number << 16 | CONTIGUOUS, 0],
            ..Default::default()
        })
        .context("creating the I/O submission queue")
    }

    /// What the controller said of itself.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Looks at a namespace.
    ///
    /// # Errors
    /// When there is none of this number, or its blocks carry metadata.
    pub fn namespace(&mut self, id: u32) -> Result<Namespace> {
        let data = self
            .identify(id, 0)
            .with_context(|| format!("identifying namespace {id}"))?;
        let blocks = u64::from_le_bytes(data[..8].try_into()?);
        ensure!(blocks > 0, "there is no namespace {id}");
        // Which of the formats is in use, and that format.
        let at = 128 + 4 * usize::from(data[26] & 0xf);
        let format = u32::from_le_bytes(data[at..at + 4].try_into()?);
        ensure!(
            format & 0xffff == 0,
            "the blocks of namespace {id} carry metadata"
        );
        let block_bytes = 1_usize
            .checked_shl(format >> 16 & 0xff)
            .context("size of a block")?;
        ensure!(
            (512..=PAGE).contains(&block_bytes),
            "blocks of {block_bytes} bytes"
        );
        Ok(Namespace {
            id,
            blocks,
            block_bytes,
        })
    }

    /// The places of the first `bytes` bytes of data, as commands have them: the first page, and the
    /// second page or else a list of the others.
    fn data_pages(&self, bytes: usize) -> [u64; 2] {
        let first = BASE + layout::DATA as u64;
        let rest: Vec<u64> = (PAGE..bytes)
            .step_by(PAGE)
            .map(|at| (first + at as u64).0)
            .collect();
        match rest[..] {
            [] => [first.0, 0],
            [second] => [first.0, second],
            _ => {
                let list: Vec<u8> = rest
                    .iter()
                    .flat_map(|address| address.to_le_bytes())
                    .collect();
                self.memory.write(layout::PAGE_LIST, &list);
                [first.0, (BASE + layout::PAGE_LIST as u64).0]
            }
        }
    }

    /// One command that moves `bytes` bytes of data.
    fn transfer(
        &mut self,
        opcode: u8,
        namespace: &Namespace,
        lba: u64,
        bytes: usize,
    ) -> Result<()> {
        let blocks = (bytes / namespace.block_bytes) as u32;
        let data = self.data_pages(bytes);
        // The number of blocks counts from 0.
        let arguments = [lba as u32, (lba >> 32) as u32, blocks - 1];
        let command = Command {
            opcode,
            namespace: namespace.id,
            data,
            arguments,
        };
        self.io.run(&self.memory, &self.registers, command)
    }

    /// Splits an extent into what one command may transfer: block number, offset and bytes.
    fn pieces(
        &self,
        namespace: &Namespace,
        lba: u64,
        bytes: usize,
    ) -> Result<Vec<(u64, usize, usize)>> {
        let size = namespace.block_bytes;
        ensure!(
            bytes % size == 0,
            "{bytes} bytes are no number of blocks of {size} bytes"
        );
        let end = lba.checked_add((bytes / size) as u64);
        ensure!(
            end.is_some_and(|end| end <= namespace.blocks),
            "the namespace ends at block {}",
            namespace.blocks
        );
        let step = self.identity.transfer_bytes;
        let piece = |at: usize| (lba + (at / size) as u64, at, step.min(bytes - at));
        Ok((0..bytes).step_by(step).map(piece).collect())
    }

    /// Writes `data`, a whole number of blocks, from block `lba` on, and makes it permanent.
    ///
    /// # Errors
    /// When it does not fit or the controller fails.
    pub fn write(&mut self, namespace: &Namespace, lba: u64, data: &[u8]) -> Result<()> {
        for (lba, at, bytes) in self.pieces(namespace, lba, data.len())? {
            self.memory.write(layout::DATA, &data[at..at + bytes]);
            let done = self.transfer(io::WRITE, namespace, lba, bytes);
            done.with_context(|| format!("writing {bytes} bytes at block {lba}"))?;
        }
        let flush = Command {
            opcode: io::FLUSH,
            namespace: namespace.id,
            ..Default::default()
        };
        self.io
            .run(&self.memory, &self.registers, flush)
            .context("flushing")
    }

    /// Reads `bytes` bytes, a whole number of blocks, from block `lba` on.
    ///
    /// # Errors
    /// When there are not as many or the controller fails.
    pub fn read(&mut self, namespace: &Namespace, lba: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut data = Vec::with_capacity(bytes);
        for (lba, _, bytes) in self.pieces(namespace, lba, bytes)? {
            // What the controller does not overwrite must not look like what was read before.
            self.memory.fill(layout::DATA, bytes, 0xee);
            let done = self.transfer(io::READ, namespace, lba, bytes);
            done.with_context(|| format!("reading {bytes} bytes at block {lba}"))?;
            data.extend(self.memory.read(layout::DATA, bytes));
        }
        Ok(data)
    }

    /// Shuts the controller down, so that the next driver finds it in order.
    ///
    /// # Errors
    /// When the controller does not follow.
    pub fn finish(self) -> Result<()> {
        self.registers
            .write32(register::CONFIGURATION, ENABLED | SHUT_DOWN);
        wait(&self.registers, "shut down", |status| status >> 2 & 3 == 2)?;
        stop(&self.registers)
    }
}
