// SPDX-License-Identifier: GPL-2.0
//! A USB host controller (xHCI), as far as it takes to have it raise any of its interrupts: transfers of the device on
//! one of its ports, each of which names the interrupter that it is reported by.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;

use crate::hotplug::wait_until;
use crate::memory::{DmaBuffer, PAGE};
use crate::mmio::MappedBar;

/// Registers, by the block that they are in.
mod register {
    /// Capabilities.
    pub const LENGTH: usize = 0;
    pub const STRUCTURE: usize = 4;
    pub const DOORBELLS: usize = 0x14;
    pub const RUNTIME: usize = 0x18;
    /// Operational.
    pub const COMMAND: usize = 0;
    pub const STATUS: usize = 4;
    pub const COMMAND_RING: usize = 0x18;
    pub const CONTEXTS: usize = 0x30;
    pub const CONFIGURE: usize = 0x38;
    pub const PORTS: usize = 0x400;
    pub const PORT_BYTES: usize = 0x10;
    /// Runtime: interrupters from here on.
    pub const INTERRUPTERS: usize = 0x20;
    pub const INTERRUPTER_BYTES: usize = 0x20;
    /// Of an interrupter.
    pub const MANAGEMENT: usize = 0;
    pub const MODERATION: usize = 4;
    pub const SEGMENTS: usize = 8;
    pub const SEGMENT_TABLE: usize = 0x10;
    pub const DEQUEUE: usize = 0x18;
}

const RUN: u32 = 1;
const RESET: u32 = 2;
const INTERRUPTS: u32 = 4;
const HALTED: u32 = 1;
const CONNECTED: u32 = 1;
const HIGH_SPEED: u32 = 3;
const PENDING_AND_ENABLED: u32 = 3;
const HANDLER_BUSY: u64 = 8;

/// Pages of its memory.
mod page {
    pub const CONTEXTS: usize = 0;
    pub const COMMANDS: usize = 1;
    pub const SEGMENT_TABLES: usize = 2;
    pub const INPUT: usize = 3;
    pub const OUTPUT: usize = 4;
    pub const TRANSFERS: usize = 5;
    /// One for each interrupter from here on.
    pub const EVENTS: usize = 6;
}

/// Bytes between two segment tables; their addresses have to be multiples of this.
const TABLE_BYTES: usize = 64;
const ENTRIES: usize = PAGE / 16;

/// Kinds of entries of rings.
mod kind {
    pub const SETUP: u32 = 2;
    pub const STATUS: u32 = 4;
    pub const LINK: u32 = 6;
    pub const ENABLE_SLOT: u32 = 9;
    pub const ADDRESS_DEVICE: u32 = 11;
    pub const TRANSFER_EVENT: u32 = 32;
    pub const COMMAND_EVENT: u32 = 33;
}

const CYCLE: u32 = 1;
const TOGGLE: u32 = 1 << 1;
const ON_COMPLETION: u32 = 1 << 5;
const IMMEDIATE: u32 = 1 << 6;
const INWARD: u32 = 1 << 16;
const SUCCESS: u32 = 1;

/// SET_CONFIGURATION(0): any device takes it, and there is no data.
const SETUP_PACKET: u64 = 0x0900;

/// An entry of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parameter: u64,
    status: u32,
    control: u32,
}

/// A ring that is written to.
struct Ring {
    page: usize,
    index: usize,
    cycle: u32,
}

impl Ring {
    fn new(page: usize) -> Ring {
        Ring { page, index: 0, cycle: CYCLE }
    }

    fn put(&self, memory: &DmaBuffer, entry: Entry) {
        memory.set_word(self.page, 2 * self.index, entry.parameter);
        // The word with the cycle bit hands the entry over.
        let control = u64::from(entry.control | self.cycle);
        memory.set_word(self.page, 2 * self.index + 1, control << 32 | u64::from(entry.status));
    }

    fn push(&mut self, memory: &DmaBuffer, start: Iova, entry: Entry) {
        self.put(memory, entry);
        self.index += 1;
        if self.index == ENTRIES - 1 {
            self.put(memory, Entry { parameter: start.0, status: 0, control: kind::LINK << 10 | TOGGLE });
            self.index = 0;
            self.cycle ^= CYCLE;
        }
    }
}

/// What the controller reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    kind: u32,
    code: u32,
    slot: u32,
}

/// A ring that is read from.
struct Events {
    page: usize,
    index: usize,
    cycle: u32,
}

impl Events {
    fn take(&mut self, memory: &DmaBuffer) -> Option<Event> {
        let word = memory.word(self.page, 2 * self.index + 1);
        let (status, control) = (word as u32, (word >> 32) as u32);
        if control & CYCLE != self.cycle {
            return None;
        }
        self.index += 1;
        if self.index == ENTRIES {
            self.index = 0;
            self.cycle ^= CYCLE;
        }
        Some(Event { kind: control >> 10 & 0x3f, code: status >> 24, slot: control >> 24 })
    }
}

/// The controller, running, with the device on one of its ports addressed.
pub struct Controller {
    bar: MappedBar,
    operational: usize,
    runtime: usize,
    doorbells: usize,
    memory: DmaBuffer,
    base: Iova,
    commands: Ring,
    transfers: Ring,
    events: Vec<Events>,
    slot: u32,
}

impl Controller {
    /// How many pages it takes with so many interrupters.
    pub fn pages(interrupters: usize) -> usize {
        page::EVENTS + interrupters
    }

    /// Takes a controller that masters the bus, with memory that is mapped for it at `base`. After each command that it
    /// carries out, `interrupted` waits for the interrupt of interrupter 0: two that come close together may be one.
    ///
    /// # Errors
    /// When it does not do what it is told, has no device, or less interrupters.
    pub fn start(
        bar: MappedBar,
        memory: DmaBuffer,
        base: Iova,
        interrupters: usize,
        mut interrupted: impl FnMut() -> Result<()>,
    ) -> Result<Controller> {
        let operational = (bar.read32(register::LENGTH) & 0xff) as usize;
        let has = (bar.read32(register::STRUCTURE) >> 8 & 0x7ff) as usize;
        ensure!(has >= interrupters, "the controller has {has} interrupters, not {interrupters}");
        let events = |number| Events { page: page::EVENTS + number, index: 0, cycle: CYCLE };
        let mut controller = Controller {
            operational,
            runtime: (bar.read32(register::RUNTIME) & !0x1f) as usize,
            doorbells: (bar.read32(register::DOORBELLS) & !3) as usize,
            bar,
            memory,
            base,
            commands: Ring::new(page::COMMANDS),
            transfers: Ring::new(page::TRANSFERS),
            events: (0..interrupters).map(events).collect(),
            slot: 0,
        };
        controller.set_up()?;
        controller.address_device(&mut interrupted)?;
        Ok(controller)
    }

    fn page(&self, page: usize) -> Iova {
        Iova(self.base.0 + (page * PAGE) as u64)
    }

    fn write_operational(&self, register: usize, value: u32) {
        self.bar.write32(self.operational + register, value);
    }

    fn write_address(&self, at: usize, address: u64) {
        // The upper half comes last: an address takes effect with it.
        self.bar.write32(at, address as u32);
        self.bar.write32(at + 4, (address >> 32) as u32);
    }

    fn wait_for(&self, register: usize, mask: u32, value: u32) -> Result<()> {
        let seen = || self.bar.read32(self.operational + register) & mask;
        wait_until(&format!("bits {mask:#x} of register {register:#x} are {value:#x}"), || Ok(seen() == value))
    }

    fn set_up(&mut self) -> Result<()> {
        self.write_operational(register::COMMAND, 0);
        self.wait_for(register::STATUS, HALTED, HALTED)?;
        self.write_operational(register::COMMAND, RESET);
        self.wait_for(register::COMMAND, RESET, 0)?;
        let slots = self.bar.read32(register::STRUCTURE) & 0xff;
        self.write_operational(register::CONFIGURE, slots);
        self.write_address(self.operational + register::CONTEXTS, self.page(page::CONTEXTS).0);
        let commands = self.page(page::COMMANDS).0 | u64::from(CYCLE);
        self.write_address(self.operational + register::COMMAND_RING, commands);
        for number in 0..self.events.len() {
            self.set_up_interrupter(number);
        }
        self.write_operational(register::COMMAND, RUN | INTERRUPTS);
        self.wait_for(register::STATUS, HALTED, 0)
    }

    fn interrupter(&self, number: usize) -> usize {
        self.runtime + register::INTERRUPTERS + number * register::INTERRUPTER_BYTES
    }

    fn set_up_interrupter(&self, number: usize) {
        let (at, ring) = (self.interrupter(number), self.page(self.events[number].page));
        let table = number * TABLE_BYTES;
        self.memory.set_word(page::SEGMENT_TABLES, table / 8, ring.0);
        self.memory.set_word(page::SEGMENT_TABLES, table / 8 + 1, ENTRIES as u64);
        self.bar.write32(at + register::SEGMENTS, 1);
        self.write_address(at + register::DEQUEUE, ring.0);
        self.write_address(at + register::SEGMENT_TABLE, self.page(page::SEGMENT_TABLES).0 + table as u64);
        self.bar.write32(at + register::MODERATION, 0);
        self.bar.write32(at + register::MANAGEMENT, PENDING_AND_ENABLED);
    }

    /// Waits for an event, and lets the interrupter raise the next interrupt.
    fn event(&mut self, interrupter: usize) -> Result<Event> {
        let mut event = None;
        let (events, memory) = (&mut self.events[interrupter], &self.memory);
        wait_until(&format!("an event of interrupter {interrupter}"), || {
            event = events.take(memory);
            Ok(event.is_some())
        })?;
        let (page, index) = (events.page, events.index);
        let at = self.interrupter(interrupter);
        self.bar.write32(at + register::MANAGEMENT, PENDING_AND_ENABLED);
        let dequeue = self.page(page).0 + 16 * index as u64;
        self.bar.write32(at + register::DEQUEUE + 4, (dequeue >> 32) as u32);
        self.bar.write32(at + register::DEQUEUE, (dequeue | HANDLER_BUSY) as u32);
        event.context("no event")
    }

    fn command(&mut self, parameter: u64, control: u32) -> Result<u32> {
        let start = self.page(page::COMMANDS);
        self.commands.push(&self.memory, start, Entry { parameter, status: 0, control });
        self.bar.write32(self.doorbells, 0);
        match self.event(0)? {
            Event { kind: kind::COMMAND_EVENT, code: SUCCESS, slot } => Ok(slot),
            other => bail!("command {control:#x}: {other:x?}"),
        }
    }

    fn connected_port(&self) -> Result<u32> {
        let ports = self.bar.read32(register::STRUCTURE) >> 24;
        let status = |port: u32| {
            let at = register::PORTS + (port as usize - 1) * register::PORT_BYTES;
            self.bar.read32(self.operational + at)
        };
        (1..=ports).find(|&port| status(port) & CONNECTED != 0).context("no port has a device")
    }

    fn address_device(&mut self, interrupted: &mut impl FnMut() -> Result<()>) -> Result<()> {
        let port = self.connected_port()?;
        self.slot = self.command(0, kind::ENABLE_SLOT << 10)?;
        interrupted()?;
        let (slot, control) = (self.slot as usize, 3_u64 << 32);
        self.memory.set_word(page::CONTEXTS, slot, self.page(page::OUTPUT).0);
        // Control context: slot and endpoint 0 are added; slot context: one endpoint, its speed, the port.
        self.memory.set_word(page::INPUT, 0, control);
        let slot_context = u64::from(port) << 48 | 1 << 27 | u64::from(HIGH_SPEED) << 20;
        self.memory.set_word(page::INPUT, 4, slot_context);
        // Endpoint 0: control, 64 bytes, three attempts; its ring.
        self.memory.set_word(page::INPUT, 8, (64 << 16 | 4 << 3 | 3 << 1) << 32);
        self.memory.set_word(page::INPUT, 9, self.page(page::TRANSFERS).0 | u64::from(CYCLE));
        self.memory.set_word(page::INPUT, 10, 8);
        let input = self.page(page::INPUT).0;
        self.command(input, kind::ADDRESS_DEVICE << 10 | self.slot << 24)?;
        interrupted()
    }

    /// Has a transfer carried out and reported by one interrupter, which raises one interrupt.
    ///
    /// # Errors
    /// When it is not, or fails.
    pub fn transfer(&mut self, interrupter: usize) -> Result<()> {
        let start = self.page(page::TRANSFERS);
        let setup = Entry { parameter: SETUP_PACKET, status: 8, control: kind::SETUP << 10 | IMMEDIATE };
        let target = (interrupter as u32) << 22;
        let status = Entry { parameter: 0, status: target, control: kind::STATUS << 10 | ON_COMPLETION | INWARD };
        self.transfers.push(&self.memory, start, setup);
        self.transfers.push(&self.memory, start, status);
        self.bar.write32(self.doorbells + 4 * self.slot as usize, 1);
        match self.event(interrupter)? {
            Event { kind: kind::TRANSFER_EVENT, code: SUCCESS, slot } if slot == self.slot => Ok(()),
            other => bail!("a transfer that interrupter {interrupter} reports: {other:x?}"),
        }
    }

    /// Stops the controller.
    ///
    /// # Errors
    /// When it goes on.
    pub fn stop(&self) -> Result<()> {
        self.write_operational(register::COMMAND, 0);
        self.wait_for(register::STATUS, HALTED, HALTED)
    }
}
