// SPDX-License-Identifier: GPL-2.0

//! Hypercalls that repeat an operation as often as one page of input has elements.
//!
//! [`rep_call`](super::rep_call) prepares short lists for a call that is made very often. This file
//! is for long lists. The input goes to the input page of the CPU, which is filled with interrupts
//! off, element by element.
//!
//! The hypervisor may do only a part of a call, with success or without. [`Progress`] says how much
//! it has done. The caller must go on from there, as this file repeats no call.

use super::{
    hypercall::{
        bytes_of,
        failure,
        InputPage,
        ResultWord,
        PAGE_BYTES, //
    },
    status::HypercallError, //
};
use crate::{
    page::Page,
    prelude::*, //
};
use core::mem::size_of;

/// The position of the rep count in the control word, and of the number of reps done in the result.
const REP_COUNT_SHIFT: u32 = 32;
/// The largest value of both, which are 12 bits wide.
const REPS_MAX: usize = 0xfff;

/// A hypercall with a header and a list.
///
/// # Safety
///
/// `Header` and `Element` must be what the input of the call `CODE` consists of. The hypervisor
/// must read nothing but the input and memory that the input names, and must write nothing. Every
/// byte of every `Header` and `Element` must be initialised, and must not change behind a shared
/// reference.
///
/// [`make`] is safe: code that can name the type can pass any `Header` and any list. The call must
/// do no harm with any of them, which includes DMA that it allows and memory that it takes away
/// from the kernel. Or else the type must be private to code that passes only what does no harm.
pub unsafe trait ListCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The fixed part of the input.
    type Header;
    /// One element of the list.
    type Element;
}

/// A hypercall whose operations are counted, but not listed.
///
/// # Safety
///
/// As for [`ListCall`], with [`make_counted`], any `Header` and any count. `Header` must be the
/// whole input.
pub unsafe trait CountedCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input.
    type Header;
}

/// A hypercall whose operations are counted, and each of which returns a number of 64 bits.
///
/// # Safety
///
/// As for [`CountedCall`], with [`make_yielding`], except that the hypervisor writes the numbers to
/// the output. It must write nothing else.
pub(super) unsafe trait YieldingCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input.
    type Header;
}

/// How many operations one [`CountedCall`] can ask for.
pub const COUNTED_MAX: usize = REPS_MAX;

/// How many operations one [`YieldingCall`] can ask for: as many as a page of output has numbers.
const YIELDED_MAX: usize = PAGE_BYTES / size_of::<u64>();

/// How many elements of `C` fit into one call.
pub const fn max_elements<C: ListCall>() -> usize {
    assert!(size_of::<C::Header>() <= PAGE_BYTES && size_of::<C::Element>() != 0);
    let fitting = (PAGE_BYTES - size_of::<C::Header>()) / size_of::<C::Element>();
    if fitting < REPS_MAX {
        fitting
    } else {
        REPS_MAX
    }
}

/// What one call has done.
#[must_use]
#[derive(Clone, Copy)]
pub struct Progress {
    /// How many operations are done, from the first one on. Never more than were asked for.
    pub done: usize,
    /// Why the hypervisor stopped. `Ok` with fewer operations than were asked for means that the
    /// hypervisor paused; at least one is done then.
    pub result: Result<(), HypercallError>,
}

impl Progress {
    /// Reads a result word after a call for `count` operations.
    fn of(result: ResultWord, count: usize) -> Progress {
        let completed = (result.0 >> REP_COUNT_SHIFT) as usize & REPS_MAX;
        // All ones mean that there was no call.
        if result.0 == u64::MAX || completed > count {
            return Progress {
                done: 0,
                result: Err(failure(result)),
            };
        }
        let result = if result.is_success() && completed != 0 {
            Ok(())
        } else {
            Err(failure(result))
        };
        Progress {
            done: completed,
            result,
        }
    }

    /// The progress of a call that was not made.
    fn none(failure: HypercallError) -> Progress {
        Progress {
            done: 0,
            result: Err(failure),
        }
    }
}

/// The elements of a call. The input page is filled from this while nobody else may use the page,
/// so no other code than this file's may run meanwhile.
pub trait Elements<E>: sealed::Sealed {
    /// How many there are.
    #[doc(hidden)]
    fn count(&self) -> usize;

    /// The element of an index, which counts from 0 and is lower than [`Self::count`].
    #[doc(hidden)]
    fn element(&self, index: usize) -> Option<E>;
}

mod sealed {
    pub trait Sealed {}

    impl<E> Sealed for &[E] {}
    impl Sealed for super::Run {}
}

impl<E: Copy> Elements<E> for &[E] {
    fn count(&self) -> usize {
        self.len()
    }

    fn element(&self, index: usize) -> Option<E> {
        self.get(index).copied()
    }
}

/// Numbers at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first number.
    pub first: u64,
    /// What is between two numbers.
    pub step: u64,
    /// How many there are.
    pub count: usize,
}

impl Elements<u64> for Run {
    fn count(&self) -> usize {
        self.count
    }

    fn element(&self, index: usize) -> Option<u64> {
        Some(
            self.first
                .wrapping_add(self.step.wrapping_mul(index as u64)),
        )
    }
}

/// Makes a call for `elements`, once. The call asks for the first [`max_elements`] of them at most.
///
/// Context: any but NMI; interrupts are off while the list is written and the hypervisor works.
pub fn make<C: ListCall>(header: &C::Header, elements: impl Elements<C::Element>) -> Progress {
    let count = elements.count().min(const { max_elements::<C>() });
    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: The trait promises that all bytes of the header are initialised and do not change.
    page.write_at(0, unsafe { bytes_of(header) });
    for index in 0..count {
        let offset = size_of::<C::Header>() + index * size_of::<C::Element>();
        // `index` is lower than `count`, so there is an element.
        if let Some(element) = elements.element(index) {
            // SAFETY: The trait promises that all bytes of the element are initialised and do not
            // change.
            page.write_at(offset, unsafe { bytes_of(&element) });
        }
    }
    Progress::of(page.issue_reps(C::CODE, count), count)
}

/// Makes a call for up to `count` operations, once. The call asks for [`COUNTED_MAX`] at most.
///
/// Context: any but NMI; interrupts are off while the hypervisor works.
pub fn make_counted<C: CountedCall>(header: &C::Header, count: usize) -> Progress {
    const_assert!(size_of::<C::Header>() <= PAGE_BYTES);

    let count = count.min(COUNTED_MAX);
    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: The trait promises that all bytes of the header are initialised and do not change.
    page.write_at(0, unsafe { bytes_of(header) });
    Progress::of(page.issue_reps(C::CODE, count), count)
}

/// Makes a call for as many operations as `output` has room for numbers, once.
///
/// Context: any but NMI; interrupts are off while the hypervisor works.
pub(super) fn make_yielding<C: YieldingCall>(header: &C::Header, output: &mut Page) -> Progress {
    const_assert!(size_of::<C::Header>() <= PAGE_BYTES);

    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: The trait promises that all bytes of the header are initialised and do not change.
    page.write_at(0, unsafe { bytes_of(header) });
    let result = page.issue_reps_into(C::CODE, YIELDED_MAX, output);
    Progress::of(result, YIELDED_MAX)
}

#[macros::kunit_tests(rust_kernel_hyperv_list_call)]
mod tests {
    use super::{
        super::status::Status,
        *, //
    };

    fn after(status: u16, completed: u64, count: usize) -> Progress {
        let word = completed << REP_COUNT_SHIFT | u64::from(status);
        Progress::of(ResultWord(word), count)
    }

    #[test]
    fn what_a_call_has_done_is_seen() {
        let all = after(0, 3, 3);
        assert!(all.done == 3 && all.result == Ok(()));
        let paused = after(0, 2, 3);
        assert!(paused.done == 2 && paused.result == Ok(()));
        let stopped = after(0x0b, 2, 3);
        let memory = HypercallError::Status(Status::INSUFFICIENT_MEMORY);
        assert!(stopped.done == 2 && stopped.result == Err(memory));
        // The count has twelve bits, not eight or sixteen.
        assert_eq!(after(0, 0xfff, 0xfff).done, 4095);
        assert_eq!(Progress::of(ResultWord(0xf003 << 32), 9).done, 3);
    }

    #[test]
    fn a_call_that_does_nothing_has_failed() {
        let nothing = after(0, 0, 3);
        assert!(nothing.done == 0 && nothing.result == Err(HypercallError::NoProgress));
        let lie = after(0, 4, 3);
        assert!(lie.done == 0 && lie.result == Err(HypercallError::NoProgress));
        let none = Progress::of(ResultWord(u64::MAX), COUNTED_MAX);
        assert!(none.done == 0 && none.result == Err(HypercallError::Unavailable));
    }

    #[test]
    fn a_run_goes_on_by_its_step() {
        let run = Run {
            first: 0x1200,
            step: 512,
            count: 3,
        };
        assert_eq!(Elements::count(&run), 3);
        assert_eq!(run.element(0), Some(0x1200));
        assert_eq!(run.element(2), Some(0x1600));
    }

    struct Long;

    // SAFETY: The call is never made.
    unsafe impl ListCall for Long {
        const CODE: u16 = 0xffff;
        const NAME: &'static str = "long";
        type Header = [u64; 5];
        type Element = u64;
    }

    #[test]
    fn a_page_is_filled() {
        assert_eq!(max_elements::<Long>(), 507);
    }
}
