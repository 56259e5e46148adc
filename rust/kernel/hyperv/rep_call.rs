// SPDX-License-Identifier: GPL-2.0

//! Hypercalls that repeat an operation for each element of a list.
//!
//! The input is built in memory that each CPU has for such calls only. The physical address of that
//! memory is known in advance, which saves most of the time that such a call costs the guest.

use super::{
    hypercall::{
        bytes_of,
        failure,
        issue,
        ResultWord, //
    },
    per_cpu::PerCpu,
    status::{
        HypercallError,
        Status, //
    },
};
use crate::{
    bindings,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::size_of, //
};

/// A hypercall that repeats an operation for each element of a list.
///
/// # Safety
///
/// `Header` and `Element` must be what the input of the call `CODE` consists of. The hypervisor
/// must read nothing but the input and memory that the input names, and must write nothing. `Key`
/// must be the type of the field at `KEY_OFFSET`. Every byte of every `Header`, `Element` and `Key`
/// must be initialised, and must not change behind a shared reference.
pub unsafe trait RepCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The fixed part of the input. Its size is a multiple of 8 bytes.
    type Header;
    /// The one field of the header that differs from call to call.
    type Key: Copy;
    /// The offset of the key in the header, in bytes.
    const KEY_OFFSET: usize;
    /// One element of the list. Its size is a multiple of 8 bytes.
    type Element;
}

/// The position of the rep count in the control word, and of the number of reps done in the result.
const REP_COUNT_SHIFT: u32 = 32;
/// The largest value of both, which are 12 bits wide.
const REP_MASK: u64 = 0xfff;

/// The size of an input, header and elements together, in bytes.
const INPUT_BYTES: usize = 248;

/// How many elements of `C` fit into one call of [`RepInputs`].
pub const fn max_elements<C: RepCall>() -> usize {
    assert!(size_of::<C::Header>() <= INPUT_BYTES && size_of::<C::Element>() != 0);
    (INPUT_BYTES - size_of::<C::Header>()) / size_of::<C::Element>()
}

/// The input of one CPU. Its alignment keeps it within one page.
#[derive(FromBytes)]
#[repr(C, align(256))]
struct Input {
    bytes: [u8; INPUT_BYTES],
    /// The physical address of `bytes`.
    address: u64,
}

/// The inputs for a rep call, one for each CPU.
///
/// # Invariants
///
/// In each input, `address` is the physical address of `bytes`, and `bytes` begin with a header.
pub struct RepInputs<C: RepCall> {
    inputs: PerCpu<Input>,
    _call: PhantomData<C>,
}

impl<C: RepCall> RepInputs<C> {
    const HEADER_BYTES: usize = size_of::<C::Header>();

    /// Allocates the inputs, 256 bytes for each possible CPU, and writes the header to each.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new(header: &C::Header) -> Result<Self> {
        const_assert!(size_of::<C::Header>() % 8 == 0 && size_of::<C::Element>() % 8 == 0);
        const_assert!(C::KEY_OFFSET + size_of::<C::Key>() <= size_of::<C::Header>());

        let inputs = PerCpu::<Input>::new_zeroed()?;
        inputs.each(|input| {
            // SAFETY: The address is that of a CPU's part, and nobody else knows the memory yet.
            let (address, input) =
                unsafe { (bindings::per_cpu_ptr_to_phys(input.cast()), &mut *input) };
            input.address = address;
            // SAFETY: The trait promises that all bytes of the header are initialised and do not
            // change.
            unsafe { put(&mut input.bytes, 0, header) };
        });
        // INVARIANT: The loop has set both. `bytes` is the first field, so it has the input's
        // address.
        Ok(RepInputs {
            inputs,
            _call: PhantomData,
        })
    }

    /// Makes a rep hypercall for `elements`, once. The hypervisor may pause before all are done.
    ///
    /// Context: any but NMI; interrupts are off while the hypervisor works.
    #[inline(always)]
    pub fn start(&self, key: C::Key, elements: &[C::Element]) -> Outcome {
        if elements.len() > max_elements::<C>() {
            return Outcome(ResultWord(Status::INVALID_HYPERCALL_INPUT.code().into()));
        }
        // SAFETY: Nothing that runs before `input` is dropped borrows the part again.
        let mut input = unsafe { self.inputs.local() };
        // SAFETY: The trait promises that all bytes of the key are initialised and do not change.
        unsafe { put(&mut input.bytes, C::KEY_OFFSET, &key) };
        // SAFETY: The trait promises that all bytes of the elements are initialised and do not
        // change.
        unsafe { put(&mut input.bytes, Self::HEADER_BYTES, elements) };
        let control = u64::from(C::CODE) | (elements.len() as u64) << REP_COUNT_SHIFT;
        // SAFETY: By the type invariant, `address` is that of the input just written. It does not
        // change while interrupts are off. There is no output.
        Outcome(unsafe { issue(control, input.address, 0) })
    }

    /// Goes on with `elements` as long as the hypervisor pauses. `outcome` is the result of
    /// [`start`](Self::start) with these elements.
    ///
    /// Context: any but NMI; interrupts are off while the hypervisor works.
    ///
    /// # Errors
    ///
    /// [`HypercallError`]. It is not known then how many elements are done. An empty list, or one
    /// longer than [`max_elements`], fails with `INVALID_HYPERCALL_INPUT`.
    pub fn finish(
        &self,
        key: C::Key,
        mut elements: &[C::Element],
        mut outcome: Outcome,
    ) -> Result<(), HypercallError> {
        while !outcome.is_success_for(elements.len()) {
            let completed = (outcome.0 .0 >> REP_COUNT_SHIFT & REP_MASK) as usize;
            match elements.get(completed..) {
                // All elements are done. Reserved bits of the result may be set.
                Some([]) if outcome.0.is_success() => return Ok(()),
                Some(rest) if outcome.0.is_success() && completed != 0 => elements = rest,
                _ => return Err(failure(outcome.0)),
            }
            outcome = self.start(key, elements);
        }
        Ok(())
    }
}

/// The result of a rep call. A caller sees by two instructions whether the call has succeeded.
#[must_use]
#[derive(Clone, Copy)]
pub struct Outcome(ResultWord);

impl Outcome {
    /// Whether all of `count` elements are done.
    #[inline(always)]
    pub fn is_success_for(self, count: usize) -> bool {
        self.0 .0.rotate_right(REP_COUNT_SHIFT) == count as u64
    }
}

/// Copies `value` to `offset`. The callers make sure that it fits; otherwise nothing is copied.
///
/// # Safety
///
/// Every byte of every `T` must be initialised, and none may change behind a shared reference.
#[inline(always)]
unsafe fn put<T: ?Sized>(bytes: &mut [u8], offset: usize, value: &T) {
    // SAFETY: The caller promises that all bytes are initialised and do not change.
    let value = unsafe { bytes_of(value) };
    if let Some(place) = bytes
        .get_mut(offset..)
        .and_then(|rest| rest.get_mut(..value.len()))
    {
        place.copy_from_slice(value);
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_rep_call)]
mod tests {
    use super::*;

    struct Nothing;

    // SAFETY: No hypervisor knows the call, so it reads and writes nothing.
    unsafe impl RepCall for Nothing {
        const CODE: u16 = 0xffff;
        const NAME: &'static str = "nothing";
        type Header = u64;
        type Key = u32;
        const KEY_OFFSET: usize = 4;
        type Element = u64;
    }

    fn after(status: u16, completed: u64) -> Outcome {
        Outcome(ResultWord(completed << REP_COUNT_SHIFT | u64::from(status)))
    }

    #[test]
    fn what_came_of_a_list_is_seen() {
        assert!(after(0, 3).is_success_for(3));
        assert!(!after(0, 2).is_success_for(3));
        assert!(!after(0, 0).is_success_for(3));
        assert!(!after(5, 3).is_success_for(3));
    }

    /// In each of these cases `finish` must return without making a call.
    #[test]
    fn a_list_without_progress_is_given_up() -> Result {
        let inputs = RepInputs::<Nothing>::new(&0)?;
        let finish = |outcome| inputs.finish(0, &[1, 2, 3], outcome);
        assert!(finish(after(0, 3)) == Ok(()));
        assert!(finish(after(0, 0)) == Err(HypercallError::NoProgress));
        assert!(finish(after(0x71, 0)) == Err(HypercallError::Status(Status::OPERATION_FAILED)));
        assert!(finish(after(0x71, 2)) == Err(HypercallError::Status(Status::OPERATION_FAILED)));
        // More elements than there are.
        assert!(finish(after(0, 4)) == Err(HypercallError::NoProgress));
        assert!(finish(Outcome(ResultWord(u64::MAX))) == Err(HypercallError::Unavailable));
        // All elements, and a reserved bit.
        let reserved = Outcome(ResultWord(after(0, 3).0 .0 | 1 << 63));
        assert!(finish(reserved) == Ok(()));
        Ok(())
    }

    #[test]
    fn a_list_that_is_too_long_is_refused() -> Result {
        let inputs = RepInputs::<Nothing>::new(&0)?;
        let elements = [0; max_elements::<Nothing>() + 1];
        let outcome = inputs.start(0, &elements);
        let refusal = HypercallError::Status(Status::INVALID_HYPERCALL_INPUT);
        assert!(inputs.finish(0, &elements, outcome) == Err(refusal));
        Ok(())
    }
}
