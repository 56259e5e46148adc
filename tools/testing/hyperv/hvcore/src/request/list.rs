// SPDX-License-Identifier: GPL-2.0
//! Elements of lists, decoded one by one when their turn comes: what is before a bad one is done.

use core::marker::PhantomData;

use super::refusal::Refusal;
use crate::hypercall::list::RawList;
use crate::ids::{Gpa, Iova};
use crate::platform::Platform;
use crate::status::Status;

/// An element of a list.
pub trait Element: Sized {
    /// Bytes that it has in the input.
    const BYTES: usize;

    /// Decodes its first 8 bytes, and the 8 behind them; what it does not have is 0.
    ///
    /// # Errors
    /// Of the element alone.
    fn decode(words: [u64; 2]) -> Result<Self, Refusal>;
}

/// A list of elements of one kind.
#[derive(Debug)]
pub struct List<T> {
    raw: RawList,
    elements: PhantomData<fn() -> T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T: Element> List<T> {
    /// The list of a call.
    ///
    /// # Errors
    /// [`Status::INVALID_HYPERCALL_INPUT`] for a call that has none.
    pub(super) fn of(raw: Option<RawList>) -> Result<List<T>, Refusal> {
        match raw {
            Some(raw) => Ok(List { raw, elements: PhantomData }),
            None => Err(Refusal::violation(Status::INVALID_HYPERCALL_INPUT, "a call without a list")),
        }
    }

    /// Reads and decodes an element.
    ///
    /// # Errors
    /// As [`RawList::words`] and [`Element::decode`] say.
    pub fn get(self, platform: &impl Platform, index: u16) -> Result<T, Refusal> {
        T::decode(self.raw.words(platform, index)?)
    }
}

/// A number of a page, as the caller gave it: any 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(pub u64);

impl PageNumber {
    /// The page's first byte; `None` for a number that is wider than addresses are.
    pub fn address(self) -> Option<Gpa> {
        const PAGE_SHIFT: u32 = 12;
        (self.0 >> (u64::BITS - PAGE_SHIFT) == 0).then_some(Gpa(self.0 << PAGE_SHIFT))
    }
}

impl Element for PageNumber {
    const BYTES: usize = 8;

    fn decode([number, _]: [u64; 2]) -> Result<Self, Refusal> {
        Ok(PageNumber(number))
    }
}

impl Element for Iova {
    const BYTES: usize = 8;

    fn decode([iova, _]: [u64; 2]) -> Result<Self, Refusal> {
        Ok(Iova(iova))
    }
}

/// An address and the page that it is to lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The address.
    pub iova: Iova,
    /// The page.
    pub page: PageNumber,
}

impl Element for Placement {
    const BYTES: usize = 16;

    fn decode([iova, page]: [u64; 2]) -> Result<Self, Refusal> {
        Ok(Placement { iova: Iova(iova), page: PageNumber(page) })
    }
}

/// A local APIC's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicId(pub u32);

impl Element for ApicId {
    const BYTES: usize = 4;

    fn decode([id, _]: [u64; 2]) -> Result<Self, Refusal> {
        Ok(ApicId(id as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        assert_eq!(PageNumber::decode([7, 9]), Ok(PageNumber(7)));
        assert_eq!(Iova::decode([7, 9]), Ok(Iova(7)));
        assert_eq!(Placement::decode([7, 9]), Ok(Placement { iova: Iova(7), page: PageNumber(9) }));
        assert_eq!(ApicId::decode([7, 0]), Ok(ApicId(7)));
    }

    #[test]
    fn page_numbers_that_are_too_wide() {
        assert_eq!(PageNumber(0xf_ffff_ffff_ffff).address(), Some(Gpa(0xffff_ffff_ffff_f000)));
        assert_eq!((PageNumber(1 << 52).address(), PageNumber(u64::MAX).address()), (None, None));
    }
}
