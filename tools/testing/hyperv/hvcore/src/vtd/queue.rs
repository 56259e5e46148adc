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

    /// Whether nothing is pending, given the head register.
    pub const fn is_drained(&self, head_register: u64) -> bool {
        self.index(head_register) == self.tail
    }

    /// Slots that can be filled before the queue would look empty again, given the head register.
    pub const fn free(&self, head_register: u64) -> usize {
        let used = (self.tail + self.slots() - self.index(head_register)) % self.slots();
        self.slots() - 1 - used
    }

    /// Takes the slot at the tail; returns its offset from the queue's start, in bytes. The caller keeps to
    /// [`Ring::free`].
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

    const fn index(&self, register: u64) -> usize {
        (register >> INDEX_SHIFT) as usize % self.slots()
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
        assert!(ring.is_drained(0));
        assert_eq!(ring.free(0), 127);
        assert_eq!(ring.push(), 0);
        assert_eq!(ring.push(), 32);
        assert_eq!(ring.tail_register(), 64);
        assert_eq!(ring.free(0), 125);
        assert_eq!(ring.free(64), 127);
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
            prop_assert!(ring.is_drained(ring.tail_register()));
            prop_assert_eq!(ring.free(ring.tail_register()), ring.slots() - 1);
        }

        #[test]
        fn any_head_register_is_survived(head: u64, pushes in 0usize..300) {
            let mut ring = Ring::new(0);
            for _ in 0..pushes {
                ring.push();
            }
            prop_assert!(ring.free(head) < ring.slots());
        }
    }
}
