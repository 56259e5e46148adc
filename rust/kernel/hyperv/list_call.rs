// SPDX-License-Identifier: GPL-2.0

//! Hypercalls that repeat an operation, as often as fits into one page of input.
//!
//! [`rep_call`](super::rep_call) prepares short lists for a call that is made all the time. Here is
//! the form for long ones: the input goes to the page that each CPU has for inputs, and is filled
//! with interrupts off, element by element.
//!
//! The hypervisor may do a part of a call, with success or without. [`Progress`] says how much it
//! did. Whoever makes the call goes on from there: nothing is repeated here.

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

/// Bit position of the rep count in the control word, and of the reps completed in the result.
const REP_COUNT_SHIFT: u32 = 32;
/// Largest value of both: they are 12 bits wide.
const REPS_MAX: usize = 0xfff;

/// A hypercall with a header and a list.
///
/// # Safety
///
/// `Header` and `Element` must be what the input of the call `CODE` is made of; the hypervisor does
/// not read more, but for memory that the input itself names, and writes nothing. Every byte of
/// every `Header` and `Element` is initialised, and none changes behind a shared reference.
///
/// What a call makes devices do, or takes away from the kernel, is promised by whoever makes it:
/// see [`make`].
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

/// A hypercall whose operations are counted, and not listed.
///
/// # Safety
///
/// As for [`ListCall`]; `Header` is all of the input.
pub unsafe trait CountedCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input.
    type Header;
}

/// A hypercall whose operations are counted, and each of which gives a number of 64 bits.
///
/// # Safety
///
/// As for [`CountedCall`], but that the hypervisor writes the numbers to the output, and nothing
/// else.
pub(super) unsafe trait YieldingCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input.
    type Header;
}

/// How many operations one call can ask for: of a [`CountedCall`] 4095.
pub const COUNTED_MAX: usize = REPS_MAX;

/// How many operations of a [`YieldingCall`] one call can ask for: a page of output holds so many.
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
    /// How many operations are done, from the first one on; never more than were asked for.
    pub done: usize,
    /// Why the hypervisor stopped, if that was no pause. After success fewer can be done than were
    /// asked for, but never none.
    pub result: Result<(), HypercallError>,
}

impl Progress {
    /// Reads a result word after a call for `count` operations.
    fn of(result: ResultWord, count: usize) -> Progress {
        let completed = (result.0 >> REP_COUNT_SHIFT) as usize & REPS_MAX;
        // All ones say that there was no call.
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

    /// Nothing was done.
    fn none(failure: HypercallError) -> Progress {
        Progress {
            done: 0,
            result: Err(failure),
        }
    }
}

/// Makes a call for up to `count` elements, once; `element` tells each by its index from 0. More
/// than [`max_elements`] are not asked for.
///
/// Context: any but NMI. `element` runs with interrupts off: it must neither sleep, lock nor print.
pub fn make<C: ListCall>(
    header: &C::Header,
    count: usize,
    element: impl Fn(usize) -> C::Element,
) -> Progress {
    let count = count.min(const { max_elements::<C>() });
    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: By the trait's promise.
    page.write_at(0, unsafe { bytes_of(header) });
    for index in 0..count {
        let offset = size_of::<C::Header>() + index * size_of::<C::Element>();
        // SAFETY: By the trait's promise.
        page.write_at(offset, unsafe { bytes_of(&element(index)) });
    }
    Progress::of(page.issue_reps(C::CODE, count), count)
}

/// Makes a call for up to `count` operations, once. More than [`COUNTED_MAX`] are not asked for.
///
/// Context: any but NMI; interrupts are off while the hypervisor works.
pub fn make_counted<C: CountedCall>(header: &C::Header, count: usize) -> Progress {
    const_assert!(size_of::<C::Header>() <= PAGE_BYTES);

    let count = count.min(COUNTED_MAX);
    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: By the trait's promise.
    page.write_at(0, unsafe { bytes_of(header) });
    Progress::of(page.issue_reps(C::CODE, count), count)
}

/// Makes a call for as many operations as fit, once, with the numbers in `output`.
///
/// Context: any but NMI; interrupts are off while the hypervisor works.
pub(super) fn make_yielding<C: YieldingCall>(header: &C::Header, output: &mut Page) -> Progress {
    const_assert!(size_of::<C::Header>() <= PAGE_BYTES);

    let mut page = match InputPage::get() {
        Ok(page) => page,
        Err(failure) => return Progress::none(failure),
    };
    // SAFETY: By the trait's promise.
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
        // Twelve bits, not eight or sixteen.
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
