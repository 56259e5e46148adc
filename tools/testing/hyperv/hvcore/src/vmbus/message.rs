// SPDX-License-Identifier: GPL-2.0
//! Encodings of channel messages, which travel by `HvPostMessage` and the SynIC.

use alloc::vec::Vec;

use crate::ids::{ConnectionId, Guid, VpIndex};
use crate::nt_status::NtStatus;
use crate::wire::{u16_at, u32_at, u64_at, Writer};

use super::channel::Relid;
use super::gpadl::{GpadlHandle, GpadlShape};

const OFFER_CHANNEL: u32 = 1;
const RESCIND_CHANNEL_OFFER: u32 = 2;
const REQUEST_OFFERS: u32 = 3;
const ALL_OFFERS_DELIVERED: u32 = 4;
const OPEN_CHANNEL: u32 = 5;
const OPEN_CHANNEL_RESULT: u32 = 6;
const CLOSE_CHANNEL: u32 = 7;
const GPADL_HEADER: u32 = 8;
const GPADL_BODY: u32 = 9;
const GPADL_CREATED: u32 = 10;
const GPADL_TEARDOWN: u32 = 11;
const GPADL_TORNDOWN: u32 = 12;
const RELID_RELEASED: u32 = 13;
const INITIATE_CONTACT: u32 = 14;
const VERSION_RESPONSE: u32 = 15;
const UNLOAD: u32 = 16;
const UNLOAD_RESPONSE: u32 = 17;
const MODIFY_CHANNEL: u32 = 22;
const MODIFY_CHANNEL_RESPONSE: u32 = 24;

/// Bytes of `OPEN_CHANNEL`, user data included.
const OPEN_BYTES: usize = 148;
/// Offset of the first page number in a `GPADL_HEADER`.
const HEADER_PAGES: usize = 28;
/// Offset of the first page number in a `GPADL_BODY`.
const BODY_PAGES: usize = 16;
/// Bytes of a range's description in front of its page numbers.
const RANGE_BYTES: u16 = 8;
/// Bytes of `OFFER_CHANNEL`.
const OFFER_BYTES: usize = 196;

/// Page numbers in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageNumbers<'a>(&'a [u8]);

impl<'a> PageNumbers<'a> {
    /// The page numbers from `offset` on; `None` when the rest is no whole number of them.
    fn at(bytes: &'a [u8], offset: usize) -> Option<PageNumbers<'a>> {
        bytes.get(offset..).filter(|rest| rest.len() % 8 == 0).map(PageNumbers)
    }

    /// One after the other.
    pub(super) fn iter(self) -> impl Iterator<Item = u64> + 'a {
        self.0.chunks_exact(8).filter_map(|chunk| u64_at(chunk, 0))
    }
}

/// A message from the guest. Numbers are as sent, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestMessage<'a> {
    InitiateContact { version: u32, target: VpIndex, interrupt: InterruptChoice },
    RequestOffers,
    OpenChannel { relid: Relid, open_id: u32, ring: GpadlHandle, target: VpIndex, downstream_page: u32 },
    CloseChannel { relid: Relid },
    GpadlHeader { relid: Relid, handle: GpadlHandle, shape: GpadlShape, pages: PageNumbers<'a> },
    GpadlBody { handle: GpadlHandle, pages: PageNumbers<'a> },
    GpadlTeardown { relid: Relid, handle: GpadlHandle },
    RelidReleased { relid: Relid },
    ModifyChannel { relid: Relid, target: VpIndex },
    Unload,
}

/// How the guest wants to be told of messages: what the field means depends on the version asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InterruptChoice {
    word: u64,
}

impl InterruptChoice {
    /// From 5.0 on: the SINT for messages.
    pub(super) fn sint(self) -> u8 {
        self.word as u8
    }

    /// From 5.0 on: the trust level for messages.
    pub(super) fn vtl(self) -> u8 {
        (self.word >> 8) as u8
    }
}

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Its length does not go with its type.
    Length,
    /// A guest has no business sending this type, or it does not exist.
    UnknownType(u32),
}

impl<'a> GuestMessage<'a> {
    /// Reads a message.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<GuestMessage<'a>, DecodeError> {
        let kind = u32_at(bytes, 0).filter(|_| bytes.len() >= 8).ok_or(DecodeError::Length)?;
        GuestMessage::body(kind, bytes).ok_or(DecodeError::Length)?.ok_or(DecodeError::UnknownType(kind))
    }

    /// `None`: wrong length; `Some(None)`: unknown type.
    fn body(kind: u32, bytes: &'a [u8]) -> Option<Option<GuestMessage<'a>>> {
        let relid = || u32_at(bytes, 8).map(Relid);
        let handle = || u32_at(bytes, 12).map(GpadlHandle);
        let request = match kind {
            INITIATE_CONTACT => {
                // Two monitor page addresses follow; no offer uses them.
                bytes.get(..40)?;
                let interrupt = InterruptChoice { word: u64_at(bytes, 16)? };
                GuestMessage::InitiateContact {
                    version: u32_at(bytes, 8)?,
                    target: VpIndex(u32_at(bytes, 12)?),
                    interrupt,
                }
            }
            REQUEST_OFFERS => GuestMessage::RequestOffers,
            OPEN_CHANNEL => {
                bytes.get(..OPEN_BYTES)?;
                GuestMessage::OpenChannel {
                    relid: relid()?,
                    open_id: u32_at(bytes, 12)?,
                    ring: GpadlHandle(u32_at(bytes, 16)?),
                    target: VpIndex(u32_at(bytes, 20)?),
                    downstream_page: u32_at(bytes, 24)?,
                }
            }
            CLOSE_CHANNEL => GuestMessage::CloseChannel { relid: relid()? },
            GPADL_HEADER => {
                let ranges_bytes = u16_at(bytes, 16)?;
                let shape = GpadlShape {
                    pages: usize::from(ranges_bytes.saturating_sub(RANGE_BYTES) / 8),
                    ranges: u16_at(bytes, 18)?,
                    byte_count: u32_at(bytes, 20)?,
                    byte_offset: u32_at(bytes, 24)?,
                };
                let pages = PageNumbers::at(bytes, HEADER_PAGES)?;
                GuestMessage::GpadlHeader { relid: relid()?, handle: handle()?, shape, pages }
            }
            GPADL_BODY => GuestMessage::GpadlBody { handle: handle()?, pages: PageNumbers::at(bytes, BODY_PAGES)? },
            GPADL_TEARDOWN => GuestMessage::GpadlTeardown { relid: relid()?, handle: handle()? },
            RELID_RELEASED => GuestMessage::RelidReleased { relid: relid()? },
            MODIFY_CHANNEL => GuestMessage::ModifyChannel { relid: relid()?, target: VpIndex(u32_at(bytes, 12)?) },
            UNLOAD => GuestMessage::Unload,
            _ => return Some(None),
        };
        Some(Some(request))
    }
}

/// Whether the host agrees to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unsupported,
    Supported,
}

fn header(kind: u32) -> Writer {
    Writer::new().u32(kind).u32(0)
}

/// The answer to `INITIATE_CONTACT`; further messages are to come on `connection`.
pub(super) fn version_response(verdict: Verdict, connection: ConnectionId) -> Vec<u8> {
    let supported = match verdict {
        Verdict::Unsupported => 0,
        Verdict::Supported => 1,
    };
    header(VERSION_RESPONSE).u8(supported).u8(0).u16(0).u32(connection.0).finish()
}

/// The offer of a vPCI bus. `signal` is the connection for `HvSignalEvent`.
pub(super) fn offer(instance: Guid, relid: Relid, signal: ConnectionId) -> Vec<u8> {
    const DEDICATED_INTERRUPT: u16 = 1;
    let identity = header(OFFER_CHANNEL).bytes(&Guid::VPCI.0).bytes(&instance.0);
    // No monitor page: monitor id and the bit that it is allocated are zero.
    let tail = identity.zeroes_to(OFFER_BYTES - 12).u32(relid.0).u8(0).u8(0).u16(DEDICATED_INTERRUPT);
    tail.u32(signal.0).finish()
}

/// The end of the answer to `REQUEST_OFFERS`.
pub(super) fn all_offers_delivered() -> Vec<u8> {
    header(ALL_OFFERS_DELIVERED).finish()
}

/// Withdraws an offer.
pub(super) fn rescind(relid: Relid) -> Vec<u8> {
    header(RESCIND_CHANNEL_OFFER).u32(relid.0).finish()
}

/// The answer to `OPEN_CHANNEL`.
pub(super) fn open_result(relid: Relid, open_id: u32, status: NtStatus) -> Vec<u8> {
    header(OPEN_CHANNEL_RESULT).u32(relid.0).u32(open_id).u32(status.0).finish()
}

/// The answer to a complete GPADL.
pub(super) fn gpadl_created(relid: Relid, handle: GpadlHandle, status: NtStatus) -> Vec<u8> {
    header(GPADL_CREATED).u32(relid.0).u32(handle.0).u32(status.0).finish()
}

/// The answer to `GPADL_TEARDOWN`.
pub(super) fn gpadl_torndown(handle: GpadlHandle) -> Vec<u8> {
    header(GPADL_TORNDOWN).u32(handle.0).finish()
}

/// The answer to `MODIFY_CHANNEL`, from 5.3 on.
pub(super) fn modify_channel_response(relid: Relid, status: NtStatus) -> Vec<u8> {
    header(MODIFY_CHANNEL_RESPONSE).u32(relid.0).u32(status.0).finish()
}

/// The answer to `UNLOAD`.
pub(super) fn unload_response() -> Vec<u8> {
    header(UNLOAD_RESPONSE).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_prefix_of_a_message_is_refused() {
        for (kind, bytes) in [
            (REQUEST_OFFERS, 8),
            (OPEN_CHANNEL, 148),
            (CLOSE_CHANNEL, 12),
            (GPADL_TEARDOWN, 16),
            (RELID_RELEASED, 12),
            (INITIATE_CONTACT, 40),
            (UNLOAD, 8),
            (MODIFY_CHANNEL, 16),
            (GPADL_HEADER, 28),
            (GPADL_BODY, 16),
        ] {
            let message = header(kind).zeroes_to(bytes).finish();
            assert!(GuestMessage::decode(&message).is_ok(), "{kind}");
            for length in 0..bytes {
                assert_eq!(GuestMessage::decode(&message[..length]), Err(DecodeError::Length), "{kind} of {length}");
            }
        }
    }

    #[test]
    fn types_that_a_guest_must_not_send() {
        for kind in [0, 1, 2, 4, 6, 10, 12, 15, 17, 18, 21, 23, 24, 25, u32::MAX] {
            let message = header(kind).zeroes_to(240).finish();
            assert_eq!(GuestMessage::decode(&message), Err(DecodeError::UnknownType(kind)));
        }
    }

    #[test]
    fn gpadl_with_a_torn_page_number() {
        let message = header(GPADL_HEADER).zeroes_to(28).u64(7).u32(8).finish();
        assert_eq!(GuestMessage::decode(&message), Err(DecodeError::Length));
        let message = header(GPADL_HEADER).u32(3).u32(4).u16(24).u16(1).u32(8192).u32(0).u64(7).u64(8).finish();
        let Ok(GuestMessage::GpadlHeader { relid: Relid(3), handle: GpadlHandle(4), shape, pages }) =
            GuestMessage::decode(&message)
        else {
            panic!("no header");
        };
        assert_eq!(shape, GpadlShape { pages: 2, ranges: 1, byte_count: 8192, byte_offset: 0 });
        assert_eq!(pages.iter().collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn offer_layout() {
        let offer = offer(Guid([9; 16]), Relid(0x102), ConnectionId(0x0304_0506));
        assert_eq!(offer.len(), 196);
        assert_eq!(offer[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&offer[8..24], &offer[24..40]), (&Guid::VPCI.0[..], &[9; 16][..]));
        assert!(offer[40..184].iter().all(|&byte| byte == 0));
        assert_eq!(offer[184..], [2, 1, 0, 0, 0, 0, 1, 0, 6, 5, 4, 3]);
    }

    #[test]
    fn lengths_of_answers() {
        assert_eq!(
            version_response(Verdict::Supported, ConnectionId(4)),
            [15, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0]
        );
        assert_eq!(version_response(Verdict::Unsupported, ConnectionId(4))[8], 0);
        assert_eq!(rescind(Relid(5)), [2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(open_result(Relid(1), 2, NtStatus::SUCCESS).len(), 20);
        assert_eq!(gpadl_created(Relid(1), GpadlHandle(2), NtStatus::UNSUCCESSFUL)[16..], [1, 0, 0, 0xc0]);
        assert_eq!(gpadl_torndown(GpadlHandle(2)).len(), 12);
        assert_eq!(modify_channel_response(Relid(1), NtStatus::SUCCESS).len(), 16);
        assert_eq!((unload_response().len(), all_offers_delivered().len()), (8, 8));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(kind in 0_u32..30, tail in proptest::collection::vec(any::<u8>(), 0..240)) {
            let message = header(kind).bytes(&tail).finish();
            let _ = GuestMessage::decode(&message);
            let _ = GuestMessage::decode(&tail);
        }
    }
}
