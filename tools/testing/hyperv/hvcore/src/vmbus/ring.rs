// SPDX-License-Identifier: GPL-2.0
//! A channel's rings: packets in guest memory, indices that either side can corrupt.
//!
//! A ring is a control page followed by data pages. Each side owns one index; the host keeps its own in private and
//! only publishes it, and checks the guest's every time it reads it.

use alloc::vec::Vec;

use crate::ids::Gpa;
use crate::platform::{BadGpa, Platform};
use crate::wire::{u16_at, u64_at, Writer};

/// Offsets in the control page.
const WRITE_INDEX: u64 = 0;
const READ_INDEX: u64 = 4;
const INTERRUPT_MASK: u64 = 8;
const PENDING_SEND_SIZE: u64 = 12;
const FEATURES: u64 = 64;
/// This ring's sender honours [`PENDING_SEND_SIZE`].
const FEATURE_PENDING_SEND_SIZE: u32 = 1;

const PAGE_BYTES: u32 = 4096;
/// Most pages of a ring, control page included.
const MAX_PAGES: usize = 1 << 12;
const DESCRIPTOR_BYTES: u32 = 16;
/// Follows every packet; not part of its length.
const TRAILER_BYTES: u32 = 8;
/// Longest packet accepted, descriptor included: several times what the vPCI protocol needs.
const PACKET_BYTES_MAX: u32 = 4096;

const FLAG_COMPLETION_REQUESTED: u16 = 1;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketKind {
    /// A message.
    InBand,
    /// The answer to a message.
    Completion,
    /// Anything else; not for vPCI.
    Other(u16),
}

impl PacketKind {
    fn from_wire(kind: u16) -> PacketKind {
        match kind {
            6 => PacketKind::InBand,
            0xb => PacketKind::Completion,
            other => PacketKind::Other(other),
        }
    }

    fn to_wire(self) -> u16 {
        match self {
            PacketKind::InBand => 6,
            PacketKind::Completion => 0xb,
            PacketKind::Other(other) => other,
        }
    }
}

/// Whether the sender of a packet waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// It does not.
    Unwanted,
    /// It does.
    Requested,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: PacketKind,
    pub(super) completion: Completion,
    /// Chosen by whoever asks, repeated in the completion.
    pub(super) transaction: u64,
    pub(super) payload: Vec<u8>,
}

/// The ring can no longer be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingError {
    /// An index lies outside the ring or is not a multiple of 8.
    BadIndex(u32),
    /// A packet's lengths contradict each other or the indices.
    BadPacket,
    /// The ring's pages are no guest RAM.
    BadMemory(BadGpa),
    /// The packet would not fit into an empty ring.
    TooLong,
}

impl From<BadGpa> for RingError {
    fn from(bad: BadGpa) -> RingError {
        RingError::BadMemory(bad)
    }
}

/// The pages of a ring.
#[derive(Debug)]
struct Pages {
    control: Gpa,
    data: Vec<Gpa>,
}

impl Pages {
    /// `None` when there are not at least a control page and a data page, or far too many.
    fn new(pages: &[Gpa]) -> Option<Pages> {
        let (&control, data) = pages.split_first()?;
        (!data.is_empty() && data.len() < MAX_PAGES).then(|| Pages { control, data: data.to_vec() })
    }

    /// Bytes of data.
    fn size(&self) -> u32 {
        self.data.len() as u32 * PAGE_BYTES
    }

    fn register(&self, offset: u64) -> Gpa {
        Gpa(self.control.0 + offset)
    }

    fn load_index(&self, platform: &impl Platform, offset: u64) -> Result<u32, RingError> {
        let index = platform.load_u32(self.register(offset))?;
        (index < self.size() && index % 8 == 0).then_some(index).ok_or(RingError::BadIndex(index))
    }

    /// `index` moved on by `bytes`, both at most the ring's size.
    fn advance(&self, index: u32, bytes: u32) -> u32 {
        (index + bytes) % self.size()
    }

    /// Distance from `from` forward to `to`.
    fn distance(&self, from: u32, to: u32) -> u32 {
        (to + self.size() - from) % self.size()
    }

    /// The page address and the number of bytes up to that page's end, at `index`.
    fn span(&self, index: u32) -> Result<(Gpa, usize), RingError> {
        let page = self.data.get((index / PAGE_BYTES) as usize).ok_or(RingError::BadIndex(index))?;
        let offset = index % PAGE_BYTES;
        Ok((Gpa(page.0 + u64::from(offset)), (PAGE_BYTES - offset) as usize))
    }

    fn copy_out(&self, platform: &impl Platform, mut index: u32, mut buf: &mut [u8]) -> Result<(), RingError> {
        while !buf.is_empty() {
            let (gpa, room) = self.span(index)?;
            let (now, later) = buf.split_at_mut(room.min(buf.len()));
            platform.read(gpa, now)?;
            index = self.advance(index, now.len() as u32);
            buf = later;
        }
        Ok(())
    }

    fn copy_in(&self, platform: &mut impl Platform, mut index: u32, mut buf: &[u8]) -> Result<(), RingError> {
        while !buf.is_empty() {
            let (gpa, room) = self.span(index)?;
            let (now, later) = buf.split_at(room.min(buf.len()));
            platform.write(gpa, now)?;
            index = self.advance(index, now.len() as u32);
            buf = later;
        }
        Ok(())
    }
}

/// What the other side must be told after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notify {
    /// Nothing.
    Silent,
    /// It waits for an interrupt.
    Guest,
}

/// The ring from the guest to the host.
#[derive(Debug)]
pub(super) struct Incoming {
    pages: Pages,
    read: u32,
}

impl Incoming {
    /// Takes the ring over as the guest prepared it; `None` when its pages or indices are unusable.
    pub(super) fn open(platform: &impl Platform, pages: &[Gpa]) -> Option<Incoming> {
        let pages = Pages::new(pages)?;
        pages.load_index(platform, WRITE_INDEX).ok()?;
        let read = pages.load_index(platform, READ_INDEX).ok()?;
        Some(Incoming { pages, read })
    }

    /// Takes the oldest packet; `None` when the ring is empty.
    pub(super) fn receive(&mut self, platform: &mut impl Platform) -> Result<Option<(Packet, Notify)>, RingError> {
        let write = self.pages.load_index(platform, WRITE_INDEX)?;
        let available = self.pages.distance(self.read, write);
        if available == 0 {
            return Ok(None);
        }
        if available < DESCRIPTOR_BYTES + TRAILER_BYTES {
            return Err(RingError::BadPacket);
        }
        let mut descriptor = [0; DESCRIPTOR_BYTES as usize];
        self.pages.copy_out(platform, self.read, &mut descriptor)?;
        let field = |offset| u16_at(&descriptor, offset).ok_or(RingError::BadPacket);
        let (kind, flags) = (field(0)?, field(6)?);
        let (start, length) = (u32::from(field(2)?) * 8, u32::from(field(4)?) * 8);
        let transaction = u64_at(&descriptor, 8).ok_or(RingError::BadPacket)?;
        let consumed = length + TRAILER_BYTES;
        if start < DESCRIPTOR_BYTES || start > length || length > PACKET_BYTES_MAX || consumed > available {
            return Err(RingError::BadPacket);
        }
        let mut payload = alloc::vec![0; (length - start) as usize];
        self.pages.copy_out(platform, self.pages.advance(self.read, start), &mut payload)?;
        self.read = self.pages.advance(self.read, consumed);
        platform.store_u32(self.pages.register(READ_INDEX), self.read)?;
        let completion = match flags & FLAG_COMPLETION_REQUESTED {
            0 => Completion::Unwanted,
            _ => Completion::Requested,
        };
        let packet = Packet { kind: PacketKind::from_wire(kind), completion, transaction, payload };
        Ok(Some((packet, self.after_receive(platform, consumed)?)))
    }

    /// Whether the guest waits for the room that has just become free.
    fn after_receive(&self, platform: &impl Platform, consumed: u32) -> Result<Notify, RingError> {
        let wanted = platform.load_u32(self.pages.register(PENDING_SEND_SIZE))?;
        let write = self.pages.load_index(platform, WRITE_INDEX)?;
        let free = self.pages.size() - self.pages.distance(self.read, write);
        let had_too_little = free.saturating_sub(consumed) <= wanted;
        Ok(if wanted != 0 && free > wanted && had_too_little { Notify::Guest } else { Notify::Silent })
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the ring.
    Yes(Notify),
    /// There is no room; the guest will signal when there is.
    Full,
}

/// The ring from the host to the guest.
#[derive(Debug)]
pub(super) struct Outgoing {
    pages: Pages,
    write: u32,
}

impl Outgoing {
    /// Takes the ring over as the guest prepared it; `None` when its pages or indices are unusable.
    pub(super) fn open(platform: &mut impl Platform, pages: &[Gpa]) -> Option<Outgoing> {
        let pages = Pages::new(pages)?;
        pages.load_index(platform, READ_INDEX).ok()?;
        let write = pages.load_index(platform, WRITE_INDEX).ok()?;
        platform.fetch_or_u32(pages.register(FEATURES), FEATURE_PENDING_SEND_SIZE).ok()?;
        Some(Outgoing { pages, write })
    }

    /// Appends a packet.
    pub(super) fn send(&mut self, platform: &mut impl Platform, packet: &Packet) -> Result<Sent, RingError> {
        let bytes = self.encode(packet).ok_or(RingError::TooLong)?;
        if self.free(platform)? <= bytes.len() as u32 {
            platform.store_u32(self.pages.register(PENDING_SEND_SIZE), bytes.len() as u32)?;
            // The guest may have made room before it could see the request: then no signal comes, so look again.
            if self.free(platform)? <= bytes.len() as u32 {
                return Ok(Sent::Full);
            }
        }
        platform.store_u32(self.pages.register(PENDING_SEND_SIZE), 0)?;
        self.pages.copy_in(platform, self.write, &bytes)?;
        self.write = self.pages.advance(self.write, bytes.len() as u32);
        platform.store_u32(self.pages.register(WRITE_INDEX), self.write)?;
        let masked = platform.load_u32(self.pages.register(INTERRUPT_MASK))? != 0;
        Ok(Sent::Yes(if masked { Notify::Silent } else { Notify::Guest }))
    }

    /// Bytes free; one must stay free, or a full ring would look empty.
    fn free(&self, platform: &impl Platform) -> Result<u32, RingError> {
        let read = self.pages.load_index(platform, READ_INDEX)?;
        Ok(self.pages.size() - self.pages.distance(read, self.write))
    }

    /// The packet with its trailer; `None` when an empty ring would be too small for it.
    fn encode(&self, packet: &Packet) -> Option<Vec<u8>> {
        let length = (DESCRIPTOR_BYTES as usize + packet.payload.len()).next_multiple_of(8);
        let length8 = u16::try_from(length / 8).ok()?;
        let flags = match packet.completion {
            Completion::Unwanted => 0,
            Completion::Requested => FLAG_COMPLETION_REQUESTED,
        };
        let descriptor = Writer::new().u16(packet.kind.to_wire()).u16(DESCRIPTOR_BYTES as u16 / 8).u16(length8);
        let body = descriptor.u16(flags).u64(packet.transaction).bytes(&packet.payload).zeroes_to(length);
        let bytes = body.u64(u64::from(self.write) << 32).finish();
        (bytes.len() < self.pages.size() as usize).then_some(bytes)
    }
}

#[cfg(test)]
mod tests;
