// SPDX-License-Identifier: GPL-2.0
//! Little-endian fields in byte strings, with no way to read past the end.

use alloc::vec::Vec;

/// `N` bytes at `offset`; `None` past the end.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// The byte at `offset`.
pub(crate) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

/// The 16-bit word at byte `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

/// The 32-bit word at byte `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

/// The 64-bit word at byte `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

/// A packed little-endian structure under construction, field by field.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub(crate) fn new() -> Writer {
        Writer::default()
    }

    /// Appends a byte.
    pub(crate) fn u8(self, value: u8) -> Writer {
        self.bytes(&[value])
    }

    /// Appends a 16-bit word.
    pub(crate) fn u16(self, value: u16) -> Writer {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a 32-bit word.
    pub(crate) fn u32(self, value: u32) -> Writer {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a 64-bit word.
    pub(crate) fn u64(self, value: u64) -> Writer {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends bytes as they are.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends zeroes up to a total length of `length` bytes; does nothing when already that long.
    pub(crate) fn zeroes_to(mut self, length: usize) -> Writer {
        if self.0.len() < length {
            self.0.resize(length, 0);
        }
        self
    }

    /// The bytes so far.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_bounded() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u8_at(&bytes, 8), Some(9));
        assert_eq!(u16_at(&bytes, 1), Some(0x0302));
        assert_eq!(u32_at(&bytes, 5), Some(0x0908_0706));
        assert_eq!(u64_at(&bytes, 1), Some(0x0908_0706_0504_0302));
        assert_eq!((u8_at(&bytes, 9), u16_at(&bytes, 8), u32_at(&bytes, 6)), (None, None, None));
        assert_eq!((u64_at(&bytes, 2), u64_at(&bytes, usize::MAX)), (None, None));
    }

    #[test]
    fn writer_packs() {
        let bytes =
            Writer::new().u8(1).u16(0x0302).u32(0x0706_0504).u64(8).bytes(&[9]).zeroes_to(18).zeroes_to(2).finish();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]);
    }
}
