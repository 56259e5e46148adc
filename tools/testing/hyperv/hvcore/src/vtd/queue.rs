// SPDX-License-Identifier: GPL-2.0
//! Index arithmetic of the invalidation queue with 256-bit descriptors.

use super::invalidation::DESCRIPTOR_BYTES;

/// Base-2 logarithm of [`DESCRIPTOR_BYTES`]: where the index starts in the head and tail registers.
const INDEX_SHIFT: u32 = DESCRIPTOR_BYTES.trailing_zeros();

/// Positions in an invalidation queue of `1 << order` pages.
///
/// # Invariants
/// `tail` is below [`Ring::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    order: u8,
    tail: usize,
}

impl Ring {
    /// An empty queue of `1 << order` pages (QS field, 0..=7; more counts as 7).
    pub const fn new(order: u8) -> Ring {
        Ring { order: if order > 7 { 7 } else { order }, tail: 0 }
    }

    /// Number of slots.
    pub const fn slots(&self) -> usize {
        128 << self.order
    }

    /// Descriptors that can be handed over at once, followed by a wait descriptor: a full queue would look empty.
    pub const fn batch(&self) -> usize {
        self.slots() - 2
    }

    /// Takes the slot at the tail; returns its offset from the queue's start, in bytes. The caller keeps to
    /// [`Ring::batch`].
    pub fn push(&mut self) -> usize {
        let offset = self.tail * DESCRIPTOR_BYTES;
        self.tail = (self.tail + 1) % self.slots();
        offset
    }

    /// What the tail register must hold to hand over everything pushed.
    pub const fn tail_register(&self) -> u64 {
        (self.tail as u64) << INDEX_SHIFT
    }

    /// Low bits of the queue address register: size and 256-bit descriptors.
    pub const fn address_flags(&self) -> u64 {
        const DESCRIPTOR_WIDTH_256: u64 = 1 << 11;
        DESCRIPTOR_WIDTH_256 | self.order as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_page_holds_128_slots() {
        let mut ring = Ring::new(0);
        assert_eq!((ring.slots(), ring.address_flags()), (128, 0x800));
        assert_eq!((ring.batch(), ring.tail_register()), (126, 0));
        assert_eq!(ring.push(), 0);
        assert_eq!(ring.push(), 32);
        assert_eq!(ring.tail_register(), 64);
        assert_eq!(Ring::new(1).address_flags(), 0x801);
        assert_eq!(Ring::new(200), Ring::new(7));
    }

    proptest! {
        #[test]
        fn offsets_stay_inside_and_wrap(order in 0u8..=3, pushes in 1usize..2000) {
            let mut ring = Ring::new(order);
            for i in 0..pushes {
                prop_assert_eq!(ring.push(), i % ring.slots() * 32);
            }
            prop_assert_eq!(ring.tail_register(), (pushes % ring.slots() * 32) as u64);
        }
    }
}
