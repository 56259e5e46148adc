// SPDX-License-Identifier: GPL-2.0
//! The synthetic interrupt controller of every virtual processor: MSRs, message slots, event flags.
//!
//! A message slot holds one message until the guest frees it. Messages that do not fit wait in a bounded queue; the
//! slot's "more pending" flag asks the guest to write the EOM MSR once it has freed the slot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ids::{Gpa, VpIndex};
use crate::overlay::{Overlays, Place};
use crate::platform::{BadGpa, LogLevel, Platform};

/// Longest payload of a message, in bytes.
pub const MESSAGE_PAYLOAD_MAX: usize = 240;
/// Messages that can wait for one SINT of one virtual processor.
pub const QUEUE_DEPTH: usize = 64;
/// Synthetic interrupt sources per virtual processor.
const SINT_COUNT: usize = 16;

const MSR_SCONTROL: u32 = 0x4000_0080;
const MSR_SVERSION: u32 = 0x4000_0081;
const MSR_SIEFP: u32 = 0x4000_0082;
const MSR_SIMP: u32 = 0x4000_0083;
const MSR_EOM: u32 = 0x4000_0084;
const MSR_SIRBP: u32 = 0x4000_0085;
const MSR_SINT_FIRST: u32 = 0x4000_0090;
const MSR_SINT_LAST: u32 = 0x4000_009f;

const SYNIC_VERSION: u64 = 1;
const SINT_MASKED: u64 = 1 << 16;
const SINT_POLLING: u64 = 1 << 18;
/// A partition that creates others wants their intercepts there; there are none.
const SINT_AS_INTERCEPT: u64 = 1 << 19;
/// Bits of a SINT register that this controller implements; auto-EOI is not one, as the guest owns its local APICs.
const SINT_IMPLEMENTED: u64 = 0xff | SINT_MASKED | SINT_POLLING | SINT_AS_INTERCEPT;

/// Bytes of a message slot, and of a SINT's event flags.
const SLOT_BYTES: u64 = 256;
/// Offset of the word with payload size (7:0) and flags (15:8) in a slot.
const SLOT_FLAGS: u64 = 4;
const SLOT_MORE_PENDING: u32 = 1 << 8;

/// A synthetic interrupt source, 0..=15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sint(u8);

impl Sint {
    /// The source that VMBus uses.
    pub const VMBUS: Sint = Sint(2);

    /// Source `number`; `None` above 15.
    pub fn new(number: u8) -> Option<Sint> {
        (usize::from(number) < SINT_COUNT).then_some(Sint(number))
    }

    fn page_offset(self) -> u64 {
        u64::from(self.0) * SLOT_BYTES
    }
}

/// The number of an event flag, 0..=2047.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlag(u16);

impl EventFlag {
    /// Flag `number`; `None` above 2047.
    pub fn new(number: u32) -> Option<EventFlag> {
        u16::try_from(number).ok().filter(|&n| n < 2048).map(EventFlag)
    }
}

/// A message of the type that VMBus uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// The message type as the guest sees it; 0 would be a free slot.
    const TYPE: u32 = 1;

    /// A message with this payload; `None` when longer than [`MESSAGE_PAYLOAD_MAX`].
    pub fn new(payload: Vec<u8>) -> Option<Message> {
        (payload.len() <= MESSAGE_PAYLOAD_MAX).then_some(Message(payload))
    }
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostError {
    /// No such virtual processor.
    NoSuchVp,
    /// [`QUEUE_DEPTH`] messages are waiting already; nothing was queued.
    QueueFull,
}

/// What became of an MSR write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrOutcome {
    /// Done.
    Handled,
    /// Not an MSR of this controller.
    NotMine,
    /// The value is not allowed: the guest gets #GP.
    Fault,
}

/// A guest page that the guest can switch on: bit 0 enable, bits 63:12 page number.
#[derive(Clone, Copy, Debug)]
struct PageRegister {
    value: u64,
    place: Place,
}

impl PageRegister {
    /// The guest chooses the page.
    const ANYWHERE: PageRegister = PageRegister { value: 0, place: Place::Anywhere };

    /// The hypervisor has chosen it.
    fn fixed(page: Gpa) -> PageRegister {
        PageRegister { value: page.0, place: Place::Fixed }
    }

    fn page(self) -> Option<Gpa> {
        (self.value & 1 != 0).then_some(Gpa(self.value & !0xfff))
    }

    /// Takes a new value; false, and no change, when it has reserved bits, names a page outside guest RAM, or moves a page
    /// that the hypervisor has placed.
    fn set(&mut self, platform: &impl Platform, value: u64) -> bool {
        let new = PageRegister { value, ..*self };
        let stays = self.place == Place::Anywhere || (value ^ self.value) & !0xfff == 0;
        let good = stays && value & 0xffe == 0 && new.page().is_none_or(|page| platform.is_guest_ram(page, 4096));
        if good {
            *self = new;
        }
        good
    }
}

#[derive(Debug)]
struct Source {
    register: u64,
    queue: VecDeque<Message>,
}

impl Source {
    fn is_masked(&self) -> bool {
        self.register & SINT_MASKED != 0
    }

    /// The vector to raise; `None` when masked or polled.
    fn vector(&self) -> Option<u8> {
        (self.register & (SINT_MASKED | SINT_POLLING) == 0).then_some(self.register as u8)
    }
}

#[derive(Debug)]
struct VpSynic {
    control: u64,
    event_flags: PageRegister,
    messages: PageRegister,
    /// Where partitions that create others get events of theirs; nothing is ever put there.
    event_rings: PageRegister,
    sources: [Source; SINT_COUNT],
}

impl VpSynic {
    fn new([messages, event_flags, event_rings]: [PageRegister; 3]) -> VpSynic {
        VpSynic {
            control: 0,
            event_flags,
            messages,
            event_rings,
            sources: core::array::from_fn(|_| Source { register: SINT_MASKED, queue: VecDeque::new() }),
        }
    }

    fn is_enabled(&self) -> bool {
        self.control & 1 != 0
    }

    fn source(&self, sint: Sint) -> &Source {
        &self.sources[usize::from(sint.0)]
    }

    fn source_mut(&mut self, sint: Sint) -> &mut Source {
        &mut self.sources[usize::from(sint.0)]
    }

    /// Moves waiting messages into every slot that is free.
    fn pump(&mut self, platform: &mut impl Platform, vp: VpIndex) {
        for number in 0..SINT_COUNT as u8 {
            if self.deliver(platform, vp, Sint(number)).is_err() {
                platform.log(LogLevel::Error, format_args!("synic: message page of vp {} has gone", vp.0));
            }
        }
    }

    /// Moves the oldest waiting message into its slot if that is free, else asks for an EOM.
    fn deliver(&mut self, platform: &mut impl Platform, vp: VpIndex, sint: Sint) -> Result<(), BadGpa> {
        let Some(page) = self.messages.page().filter(|_| self.is_enabled() && !self.source(sint).is_masked()) else {
            return Ok(());
        };
        let source = self.source_mut(sint);
        if source.queue.is_empty() {
            return Ok(());
        }
        let slot = Gpa(page.0 + sint.page_offset());
        let flags = Gpa(slot.0 + SLOT_FLAGS);
        if platform.load_u32(slot)? != 0 {
            platform.fetch_or_u32(flags, SLOT_MORE_PENDING)?;
            // The guest may have freed the slot before it could see the flag: then no EOM comes, so look again.
            if platform.load_u32(slot)? != 0 {
                return Ok(());
            }
        }
        let Some(Message(payload)) = source.queue.pop_front() else { return Ok(()) };
        let mut rest = [0; SLOT_BYTES as usize - 4];
        rest[0] = payload.len() as u8;
        rest[1] = u8::from(!source.queue.is_empty());
        rest[12..12 + payload.len()].copy_from_slice(&payload);
        platform.write(flags, &rest)?;
        platform.store_u32(slot, Message::TYPE)?;
        if let Some(vector) = source.vector() {
            platform.raise_interrupt(vp, vector);
        }
        Ok(())
    }
}

/// The controllers of all virtual processors.
#[derive(Debug)]
pub struct Synic {
    vps: Vec<VpSynic>,
}

impl Synic {
    /// Controllers in their reset state: off, all sources masked.
    pub fn new(vp_count: u32) -> Synic {
        Synic { vps: (0..vp_count).map(|_| VpSynic::new([PageRegister::ANYWHERE; 3])).collect() }
    }

    /// The same, with pages where the hypervisor put them.
    pub fn with_overlays(vp_count: u32, overlays: Overlays) -> Synic {
        let vp = |vp| {
            let pages = overlays.of(VpIndex(vp));
            VpSynic::new([pages.messages, pages.event_flags, pages.event_rings].map(PageRegister::fixed))
        };
        Synic { vps: (0..vp_count).map(vp).collect() }
    }

    /// Reads one of the controller's MSRs; `None` when `msr` is not one or there is no such processor.
    pub fn msr_read(&self, vp: VpIndex, msr: u32) -> Option<u64> {
        let vp = self.vps.get(vp.0 as usize)?;
        match msr {
            MSR_SCONTROL => Some(vp.control),
            MSR_SVERSION => Some(SYNIC_VERSION),
            MSR_SIEFP => Some(vp.event_flags.value),
            MSR_SIMP => Some(vp.messages.value),
            MSR_EOM => Some(0),
            MSR_SIRBP => Some(vp.event_rings.value),
            MSR_SINT_FIRST..=MSR_SINT_LAST => Some(vp.sources[(msr - MSR_SINT_FIRST) as usize].register),
            _ => None,
        }
    }

    /// Writes one of the controller's MSRs and delivers the messages that this makes deliverable.
    pub fn msr_write(&mut self, platform: &mut impl Platform, vp: VpIndex, msr: u32, value: u64) -> MsrOutcome {
        let Some(state) = self.vps.get_mut(vp.0 as usize) else { return MsrOutcome::NotMine };
        let good = match msr {
            MSR_SCONTROL => {
                if value <= 1 {
                    state.control = value;
                }
                value <= 1
            }
            MSR_SVERSION => false,
            MSR_SIEFP => state.event_flags.set(platform, value),
            MSR_SIMP => state.messages.set(platform, value),
            MSR_EOM => true,
            MSR_SIRBP => state.event_rings.set(platform, value),
            MSR_SINT_FIRST..=MSR_SINT_LAST => {
                let usable = value & (SINT_MASKED | SINT_POLLING) != 0 || value & 0xff >= 16;
                let good = value & !SINT_IMPLEMENTED == 0 && usable;
                if good {
                    state.sources[(msr - MSR_SINT_FIRST) as usize].register = value;
                }
                good
            }
            _ => return MsrOutcome::NotMine,
        };
        if !good {
            platform.log(LogLevel::Error, format_args!("synic: vp {} msr {msr:#x} refuses {value:#x}", vp.0));
            return MsrOutcome::Fault;
        }
        state.pump(platform, vp);
        MsrOutcome::Handled
    }

    /// How many more messages [`Synic::post_message`] accepts for this source; 0 for an unknown processor.
    pub fn room(&self, vp: VpIndex, sint: Sint) -> usize {
        self.vps.get(vp.0 as usize).map_or(0, |state| QUEUE_DEPTH.saturating_sub(state.source(sint).queue.len()))
    }

    /// Queues a message and delivers it as soon as the slot is free and the source is on and not masked.
    ///
    /// # Errors
    /// See [`PostError`].
    pub fn post_message(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        sint: Sint,
        message: Message,
    ) -> Result<(), PostError> {
        let state = self.vps.get_mut(vp.0 as usize).ok_or(PostError::NoSuchVp)?;
        let queue = &mut state.source_mut(sint).queue;
        if queue.len() >= QUEUE_DEPTH {
            return Err(PostError::QueueFull);
        }
        queue.push_back(message);
        state.pump(platform, vp);
        Ok(())
    }

    /// Drops the messages that wait for a slot; one that is in its slot stays there.
    pub fn discard_messages(&mut self, vp: VpIndex, sint: Sint) {
        if let Some(state) = self.vps.get_mut(vp.0 as usize) {
            state.source_mut(sint).queue.clear();
        }
    }

    /// Sets an event flag and raises the source's interrupt; nothing happens while the controller or its event page
    /// is off.
    ///
    /// The interrupt is raised even when the flag was set: it may have been set while the source was masked.
    pub fn signal_event(&mut self, platform: &mut impl Platform, vp: VpIndex, sint: Sint, flag: EventFlag) {
        let Some(state) = self.vps.get(vp.0 as usize).filter(|state| state.is_enabled()) else { return };
        let Some(page) = state.event_flags.page() else { return };
        let word = Gpa(page.0 + sint.page_offset() + u64::from(flag.0 / 32) * 4);
        if platform.fetch_or_u32(word, 1 << (flag.0 % 32)).is_err() {
            platform.log(LogLevel::Error, format_args!("synic: event page of vp {} has gone", vp.0));
            return;
        }
        if let Some(vector) = state.source(sint).vector() {
            platform.raise_interrupt(vp, vector);
        }
    }
}

#[cfg(test)]
mod tests;
