// SPDX-License-Identifier: GPL-2.0
//! Fields of parameter blocks, by literal byte offset.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes of the largest fixed-size input, variable header included (a MAP_DEVICE_INTERRUPT with 64 banks).
pub const INPUT_MAX: usize = 0x48 + 65 * 8;

/// Room for the copy of a call's input. One serves all calls: what a call left in it, the next one never sees. The
/// default has room for nothing: what a taken buffer leaves behind.
#[derive(Debug, Default)]
pub struct InputBuffer {
    bytes: Vec<u8>,
}

impl InputBuffer {
    /// Room for the largest input.
    pub fn new() -> InputBuffer {
        InputBuffer { bytes: vec![0; INPUT_MAX] }
    }

    /// The first `len` bytes, to be filled with a call's input; `None` when `len` is more than [`INPUT_MAX`].
    pub fn first(&mut self, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(..len)
    }
}

/// A copy of a call's input: the fixed part, then the variable header. Bytes behind its end read as zero.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// The input in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes }
    }

    /// The bytes.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes from `offset` on; empty when that is behind the end.
    pub fn tail(self, offset: usize) -> &'a [u8] {
        self.bytes.get(offset..).unwrap_or(&[])
    }

    fn array<const N: usize>(self, offset: usize) -> [u8; N] {
        self.tail(offset).first_chunk().copied().unwrap_or([0; N])
    }

    /// The byte at `offset`.
    pub fn u8(self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// The little-endian 32-bit word at `offset`.
    pub fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    /// The little-endian 64-bit word at `offset`.
    pub fn u64(self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    /// Whether the `N` bytes at `offset` are all zero.
    pub fn is_zero<const N: usize>(self, offset: usize) -> bool {
        let tail = self.tail(offset);
        match tail.first_chunk::<N>() {
            Some(bytes) => *bytes == [0; N],
            None => tail.iter().all(|&byte| byte == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_bounded() {
        let input = Input::new(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(input.u64(8), 0x0807_0605_0403_0201);
        assert_eq!(input.u32(12), 0x0807_0605);
        assert_eq!(input.u8(9), 2);
        assert!(input.is_zero::<8>(0) && !input.is_zero::<9>(0));
        assert!(!input.is_zero::<4>(15) && input.is_zero::<4>(16));
        assert_eq!((input.u64(9), input.u32(usize::MAX), input.tail(17).len()), (0, 0, 0));
    }

    #[test]
    fn the_buffer_has_room_for_the_largest_input() {
        let mut buffer = InputBuffer::new();
        assert!(buffer.first(INPUT_MAX).is_some() && buffer.first(INPUT_MAX + 1).is_none());
        assert!(InputBuffer::default().first(1).is_none());
    }
}
