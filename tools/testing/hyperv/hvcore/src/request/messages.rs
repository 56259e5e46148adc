// SPDX-License-Identifier: GPL-2.0
//! Messages, events and accesses to configuration windows, by literal offset.

use super::refusal::Refusal;
use crate::hypercall::fields::Input;
use crate::hypercall::frame::Output;
use crate::ids::{ConnectionId, Gpa};
use crate::platform::AccessSize;
use crate::synic::MESSAGE_PAYLOAD_MAX;

/// A message to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostMessage<'a> {
    /// To which.
    pub connection: ConnectionId,
    /// Its type; the connection knows what it means.
    pub message_type: u32,
    /// At most [`MESSAGE_PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
}

impl<'a> PostMessage<'a> {
    /// Connection at 0x00, reserved at 0x04, message type at 0x08, payload size at 0x0c, payload from 0x10 on.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(input: Input<'a>) -> Result<PostMessage<'a>, Refusal> {
        const PAYLOAD: usize = 0x10;
        let size = usize::try_from(input.u32(0x0c)).ok().filter(|&size| size <= MESSAGE_PAYLOAD_MAX);
        let payload = size.and_then(|size| input.tail(PAYLOAD).get(..size));
        let payload = payload.ok_or(Refusal::parameter("a message that is too long"))?;
        if !input.is_zero::<4>(0x04) {
            return Err(Refusal::parameter("reserved fields of a message"));
        }
        Ok(PostMessage { connection: ConnectionId(input.u32(0x00)), message_type: input.u32(0x08), payload })
    }
}

/// An event for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalEvent {
    /// For which.
    pub connection: ConnectionId,
    /// Which of its flags.
    pub flag: u16,
}

impl SignalEvent {
    /// Connection in bits 31:0, flag number in bits 47:32, the rest zero.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(input: Input<'_>) -> Result<SignalEvent, Refusal> {
        let word = input.u64(0x00);
        match word >> 48 {
            0 => Ok(SignalEvent { connection: ConnectionId(word as u32), flag: (word >> 32) as u16 }),
            _ => Err(Refusal::parameter("reserved bits of an event")),
        }
    }
}

/// A read of memory-mapped I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioRead {
    /// Where.
    pub gpa: Gpa,
    /// How much.
    pub size: AccessSize,
    /// What has been read goes here.
    pub output: Output,
}

impl MmioRead {
    /// Address at 0x00, size at 0x08. What is behind the size is not looked at: guests leave it as it was.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(input: Input<'_>, output: Output) -> Result<MmioRead, Refusal> {
        Ok(MmioRead { gpa: Gpa(input.u64(0x00)), size: access_size(input)?, output })
    }
}

/// A write to memory-mapped I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioWrite {
    /// Where.
    pub gpa: Gpa,
    /// How much.
    pub size: AccessSize,
    /// What, without the bytes that are not written.
    pub value: u32,
}

impl MmioWrite {
    /// Address at 0x00, size at 0x08, data at 0x10.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(input: Input<'_>) -> Result<MmioWrite, Refusal> {
        let size = access_size(input)?;
        let data = input.u32(0x10);
        let value = match size {
            AccessSize::Byte => data & 0xff,
            AccessSize::Word => data & 0xffff,
            AccessSize::Dword => data,
        };
        Ok(MmioWrite { gpa: Gpa(input.u64(0x00)), size, value })
    }
}

fn access_size(input: Input<'_>) -> Result<AccessSize, Refusal> {
    match input.u32(0x08) {
        1 => Ok(AccessSize::Byte),
        2 => Ok(AccessSize::Word),
        4 => Ok(AccessSize::Dword),
        _ => Err(Refusal::parameter("an access to I/O memory of a size that there is not")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    fn bytes(words: &[u32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(0x100, 0x5a);
        bytes
    }

    fn refused<T: core::fmt::Debug>(result: Result<T, Refusal>) -> bool {
        result.is_err_and(|refusal| refusal.status == Status(5) && refusal.violation.is_some())
    }

    #[test]
    fn messages() {
        let block = bytes(&[4, 0, 1, 3, 0x0403_0201]);
        let message = PostMessage::decode(Input::new(&block)).unwrap();
        assert_eq!(message, PostMessage { connection: ConnectionId(4), message_type: 1, payload: &[1, 2, 3] });
        let longest = bytes(&[4, 0, 1, 240]);
        assert_eq!(PostMessage::decode(Input::new(&longest)).map(|message| message.payload.len()), Ok(240));
        for words in [[4, 0, 1, 241], [4, 0, 1, u32::MAX], [4, 1, 1, 3], [4, 1 << 31, 1, 3]] {
            assert!(refused(PostMessage::decode(Input::new(&bytes(&words)))), "{words:x?}");
        }
    }

    #[test]
    fn events() {
        let event = |words: &[u32]| SignalEvent::decode(Input::new(&bytes(words)));
        assert_eq!(event(&[0x104, 3]), Ok(SignalEvent { connection: ConnectionId(0x104), flag: 3 }));
        assert_eq!(event(&[0x104, 0xffff]), Ok(SignalEvent { connection: ConnectionId(0x104), flag: 0xffff }));
        assert!(refused(event(&[0x104, 0x1_0000])) && refused(event(&[0x104, 1 << 31])));
    }

    #[test]
    fn accesses_have_three_sizes() {
        let written = |size| MmioWrite::decode(Input::new(&bytes(&[0xd000_0000, 1, size, 7, 0x1234_5678])));
        for (size, expected, value) in
            [(1, AccessSize::Byte, 0x78), (2, AccessSize::Word, 0x5678), (4, AccessSize::Dword, 0x1234_5678)]
        {
            assert_eq!(written(size), Ok(MmioWrite { gpa: Gpa(0x1_d000_0000), size: expected, value }));
        }
        for size in [0, 3, 5, 8, u32::MAX] {
            assert!(refused(written(size)), "{size}");
        }
    }
}
