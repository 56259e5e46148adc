// SPDX-License-Identifier: GPL-2.0
//! Bytes as decisions and numbers.

/// What is left of the input; zeroes behind its end.
pub struct Source<'a>(&'a [u8]);

/// Things that one input does.
const STEPS_MAX: usize = 64;

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes steps as long as there is input, but not for ever.
    pub fn drive(&mut self, mut step: impl FnMut(&mut Source<'a>)) {
        for _ in 0..STEPS_MAX {
            if self.is_empty() {
                break;
            }
            step(self);
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        for (place, byte) in array.iter_mut().zip(self.bytes(N)) {
            *place = *byte;
        }
        array
    }

    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A small number below `bound`, which is at most 256 and not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound
    }

    /// At most so many bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        now
    }

    /// A length, then so many bytes.
    pub fn block(&mut self) -> &'a [u8] {
        let count = usize::from(self.u8());
        self.bytes(count)
    }
}
