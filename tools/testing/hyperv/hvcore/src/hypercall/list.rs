// SPDX-License-Identifier: GPL-2.0
//! The list of a rep call: where it is, and which of its elements are to be processed.

use core::ops::Range;

use super::control_word::Reps;
use crate::ids::Gpa;
use crate::platform::Platform;
use crate::status::Status;

/// Which elements of a list are to be processed.
///
/// # Invariants
/// `start < end <= 4095`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// All that a control word asks for.
    pub const fn new(reps: Reps) -> Span {
        Span { start: reps.start(), end: reps.count() }
    }

    /// Index of the first element.
    pub const fn start(self) -> u16 {
        self.start
    }

    /// Index behind the last element.
    pub const fn end(self) -> u16 {
        self.end
    }

    /// How many elements there are.
    pub const fn count(self) -> u16 {
        self.end - self.start
    }

    /// Their indices.
    pub fn indices(self) -> Range<u16> {
        self.start..self.end
    }

    /// The first `elements` of them at most. 0 counts as 1: a call that makes no progress hangs the guest.
    #[must_use]
    pub fn at_most(self, elements: u16) -> Span {
        Span { end: self.end.min(self.start.saturating_add(elements.max(1))), ..self }
    }
}

/// The bytes of a list: elements of one size, which lie in one page of guest RAM. They stay the guest's, and are read
/// when their turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawList {
    first: Gpa,
    element_bytes: usize,
}

impl RawList {
    /// The list from `first` on. `element_bytes` is at most 16.
    pub(super) const fn new(first: Gpa, element_bytes: usize) -> RawList {
        RawList { first, element_bytes }
    }

    /// Reads an element as two words: its first 8 bytes, and those behind them. What an element lacks is 0.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when it is not in guest RAM.
    pub fn words(self, platform: &impl Platform, index: u16) -> Result<[u64; 2], Status> {
        let mut bytes = [0; 16];
        let length = self.element_bytes.min(bytes.len());
        let offset = u64::from(index) * self.element_bytes as u64;
        let gpa = self.first.checked_add(offset).ok_or(Status::INVALID_PARAMETER)?;
        platform.read(gpa, &mut bytes[..length]).map_err(|_| Status::INVALID_PARAMETER)?;
        let word = u128::from_le_bytes(bytes);
        Ok([word as u64, (word >> 64) as u64])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MockPlatform;

    #[test]
    fn a_span_is_cut_and_never_empty() {
        let span = Span { start: 4, end: 10 };
        assert_eq!((span.start(), span.end(), span.count()), (4, 10, 6));
        for (elements, expected) in [(6, 4..10), (7, 4..10), (u16::MAX, 4..10), (3, 4..7), (1, 4..5), (0, 4..5)] {
            assert_eq!(span.at_most(elements).indices(), expected, "{elements}");
        }
    }

    #[test]
    fn elements_of_all_sizes() {
        let mut platform = MockPlatform::new(vec![]);
        for word in 0..4 {
            platform.put_u64(0x1000 + 8 * word, 0x1111_1111_0000_0000 | word);
        }
        let words = |bytes, index| RawList::new(Gpa(0x1000), bytes).words(&platform, index);
        assert_eq!(words(4, 0), Ok([0, 0]));
        assert_eq!(words(4, 3), Ok([0x1111_1111, 0]));
        assert_eq!(words(8, 3), Ok([0x1111_1111_0000_0003, 0]));
        assert_eq!(words(16, 1), Ok([0x1111_1111_0000_0002, 0x1111_1111_0000_0003]));
        let outside = RawList::new(Gpa(platform.ram.len() as u64 - 8), 8);
        assert_eq!(outside.words(&platform, 1), Err(Status::INVALID_PARAMETER));
        assert_eq!(RawList::new(Gpa(u64::MAX), 8).words(&platform, 1), Err(Status::INVALID_PARAMETER));
    }
}
