// SPDX-License-Identifier: GPL-2.0
//! Fields of parameter blocks, by literal byte offset.

/// Bytes of the largest fixed-size input, variable header included (a RETARGET_INTERRUPT with 64 banks).
pub const INPUT_MAX: usize = 0x38 + 65 * 8;

/// A copy of a call's input: the fixed part, then the variable header. Bytes beyond its length read as zero.
#[derive(Clone)]
pub struct Input {
    bytes: [u8; INPUT_MAX],
    len: usize,
}

impl Input {
    /// Room for `len` bytes, all zero; `None` when `len` is more than [`INPUT_MAX`].
    pub const fn zeroed(len: usize) -> Option<Input> {
        if len > INPUT_MAX {
            return None;
        }
        Some(Input { bytes: [0; INPUT_MAX], len })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The bytes from `offset` on; empty when that is behind the end.
    pub fn tail(&self, offset: usize) -> &[u8] {
        self.bytes().get(offset..).unwrap_or(&[])
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        if let Some(bytes) = offset.checked_add(N).and_then(|end| self.bytes().get(offset..end)) {
            array.copy_from_slice(bytes);
        }
        array
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// The little-endian 32-bit word at `offset`.
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    /// The little-endian 64-bit word at `offset`.
    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    /// Whether `len` bytes at `offset` are all zero.
    pub fn is_zero(&self, offset: usize, len: usize) -> bool {
        self.tail(offset).iter().take(len).all(|&byte| byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_bounded() {
        let mut input = Input::zeroed(16).unwrap();
        input.bytes_mut()[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(input.u64(8), 0x0807_0605_0403_0201);
        assert_eq!(input.u32(12), 0x0807_0605);
        assert_eq!(input.u8(9), 2);
        assert!(input.is_zero(0, 8) && !input.is_zero(0, 9));
        assert_eq!((input.u64(9), input.u32(usize::MAX), input.tail(17).len()), (0, 0, 0));
        assert!(Input::zeroed(INPUT_MAX).is_some() && Input::zeroed(INPUT_MAX + 1).is_none());
    }
}
