// SPDX-License-Identifier: GPL-2.0

//! Memory-based hypercalls.
//!
//! A call is a type that implements [`Call`] (one input block, perhaps one output block) or
//! [`RepCall`] (a header and a list of elements). The types tie the call code to its layouts, so
//! that a caller can neither mix them up nor read an output that the hypervisor has not written.
//!
//! Input and output share the per-CPU input page of the C side (`hyperv_pcpu_input_arg`), which is
//! valid only with interrupts off. [`call`] and [`call_rep`] turn them off for the length of the
//! hypercall; nothing is allocated, locked or printed in between.
//!
//! # Examples
//!
//! ```ignore
//! struct CreateDomain;
//!
//! impl hypercall::Call for CreateDomain {
//!     const CODE: u16 = 0xb1;
//!     const NAME: &'static str = "HVCALL_CREATE_DEVICE_DOMAIN";
//!     type Input = hv_input_create_device_domain;
//!     type Output = ();
//! }
//!
//! hypercall::call::<CreateDomain>(&input)?;
//! ```

use super::status::{
    HypercallError,
    Status, //
};
use crate::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};
use core::{
    mem::{
        size_of,
        size_of_val,
        MaybeUninit, //
    },
    ptr::NonNull,
};
use zerocopy::{
    FromZeros,
    Immutable, //
};

/// Bytes of a hypercall page; independent of the kernel's page size.
pub const PAGE_BYTES: usize = 4096;

/// A simple hypercall.
pub trait Call {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input block.
    type Input: IntoBytes + Immutable;
    /// The output block; `()` when there is none.
    type Output: FromBytes;
}

/// A hypercall that repeats an operation for each element of a list.
pub trait RepCall {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The fixed part of the input; its size is a multiple of 8 bytes.
    type Header: IntoBytes + Immutable;
    /// One element of the list; its size is a multiple of 8 bytes.
    type Element: IntoBytes + Immutable;
}

/// How many elements of `C` fit into one call.
pub const fn max_reps<C: RepCall>() -> usize {
    // Bits 43:32 of the control word hold the count.
    const COUNT_MAX: usize = 0xfff;
    assert!(size_of::<C::Header>() < PAGE_BYTES && size_of::<C::Element>() != 0);
    let fitting = (PAGE_BYTES - size_of::<C::Header>()) / size_of::<C::Element>();
    if fitting < COUNT_MAX {
        fitting
    } else {
        COUNT_MAX
    }
}

/// The hypercall input page of one CPU, with local interrupts off.
///
/// # Invariants
///
/// `page` points to [`PAGE_BYTES`] bytes that nothing but this object accesses, and local
/// interrupts are off, as long as the object lives.
struct InputPage {
    page: NonNull<u8>,
    irq_flags: usize,
    _not_send: NotThreadSafe,
}

impl InputPage {
    #[inline]
    fn get() -> Result<InputPage, HypercallError> {
        let mut irq_flags = 0;
        // SAFETY: The pointer is valid for a write.
        let page: *mut u8 = unsafe { bindings::hv_input_page_get(&mut irq_flags) }.cast();
        match NonNull::new(page) {
            // INVARIANT: The C side allocates a 4 KiB page per CPU and all its users access it with
            // interrupts off, which they are until `drop`; `NotThreadSafe` keeps the object here.
            Some(page) => Ok(InputPage {
                page,
                irq_flags,
                _not_send: NotThreadSafe,
            }),
            None => {
                // SAFETY: The flags come from the call above, on this CPU.
                unsafe { bindings::hv_input_page_put(irq_flags) };
                Err(HypercallError::Unavailable)
            }
        }
    }

    /// Copies `value`'s bytes to `offset`. Both are checked at build time by the callers.
    #[inline]
    fn write<T: IntoBytes + Immutable + ?Sized>(&mut self, offset: usize, value: &T) {
        let bytes = value.as_bytes();
        debug_assert!(offset + bytes.len() <= PAGE_BYTES);
        // SAFETY: By the type invariant the page is ours, and the callers keep the range inside it.
        unsafe {
            self.page
                .add(offset)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len())
        };
    }

    /// Issues the call with the input at offset 0 and, if given, the output at `output`.
    #[inline]
    fn issue(&mut self, control: u64, output: Option<usize>) -> Result<u64, HypercallError> {
        let output = match output {
            // SAFETY: The callers keep the offset inside the page.
            Some(offset) => unsafe { self.page.add(offset) }.as_ptr(),
            None => core::ptr::null_mut(),
        };
        #[cfg(CONFIG_HYPERV_PVIOMMU_TEST_HOOKS)]
        // SAFETY: The function only reads a module parameter.
        if unsafe { bindings::hv_pviommu_test_drops(control as u16) } {
            // Success, all reps done.
            return Ok(control & REP_MASK << REP_COUNT_SHIFT);
        }
        // SAFETY: Both blocks lie in a page that is ours by the type invariant; the caller wrote
        // the input that belongs to the call code.
        let result =
            unsafe { bindings::hv_hypercall(control, self.page.as_ptr().cast(), output.cast()) };
        if result == u64::MAX {
            return Err(HypercallError::Unavailable);
        }
        Status::check(result).map_err(HypercallError::Status)?;
        Ok(result)
    }
}

impl Drop for InputPage {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The flags were saved on this CPU, which the object cannot have left.
        unsafe { bindings::hv_input_page_put(self.irq_flags) };
    }
}

/// Leaves a trace of a call that did not do what was asked.
#[cold]
fn failed(code: u16, failure: HypercallError) {
    #[cfg(CONFIG_HYPERV_PVIOMMU)]
    super::trace::hypercall_failed(code, failure);
    #[cfg(not(CONFIG_HYPERV_PVIOMMU))]
    let _ = (code, failure);
}

/// Where the output of `C` lies: right behind the input, 8-byte aligned.
const fn output_offset<C: Call>() -> usize {
    size_of::<C::Input>().next_multiple_of(8)
}

/// Makes a simple hypercall.
///
/// Context: any; interrupts are off while the hypervisor works.
///
/// # Errors
///
/// [`HypercallError`]; the output is not looked at.
#[inline]
pub fn call<C: Call>(input: &C::Input) -> Result<C::Output, HypercallError> {
    try_call::<C>(input).inspect_err(|failure| failed(C::CODE, *failure))
}

#[inline]
fn try_call<C: Call>(input: &C::Input) -> Result<C::Output, HypercallError> {
    const_assert!(output_offset::<C>() + size_of::<C::Output>() <= PAGE_BYTES);

    let mut page = InputPage::get()?;
    page.write(0, input);

    if size_of::<C::Output>() == 0 {
        page.issue(C::CODE.into(), None)?;
        return Ok(C::Output::new_zeroed());
    }

    let offset = output_offset::<C>();
    page.issue(C::CODE.into(), Some(offset))?;
    let mut output = MaybeUninit::<C::Output>::uninit();
    // SAFETY: The hypervisor has written the block, which ends before the page does; both are
    // valid and do not overlap. `FromBytes` makes any bytes a valid value.
    Ok(unsafe {
        output
            .as_mut_ptr()
            .cast::<u8>()
            .copy_from_nonoverlapping(page.page.add(offset).as_ptr(), size_of::<C::Output>());
        output.assume_init()
    })
}

/// Bit position of the rep count in the control word.
const REP_COUNT_SHIFT: u32 = 32;
/// Bit position of the rep start index in the control word.
const REP_START_SHIFT: u32 = 48;
/// Width of both.
const REP_MASK: u64 = 0xfff;

/// Makes a rep hypercall for all of `elements`, resuming it as often as the hypervisor pauses.
///
/// Context: any; interrupts are off until all elements are done.
///
/// # Errors
///
/// [`HypercallError`]; how many elements were done before is not known. An empty or too long list
/// (see [`max_reps`]) is refused with `INVALID_HYPERCALL_INPUT`, as the hypervisor would.
#[inline]
pub fn call_rep<C: RepCall>(
    header: &C::Header,
    elements: &[C::Element],
) -> Result<(), HypercallError> {
    try_call_rep::<C>(header, elements).inspect_err(|failure| failed(C::CODE, *failure))
}

#[inline]
fn try_call_rep<C: RepCall>(
    header: &C::Header,
    elements: &[C::Element],
) -> Result<(), HypercallError> {
    const_assert!(size_of::<C::Header>() % 8 == 0 && size_of::<C::Element>() % 8 == 0);
    const_assert!(size_of::<C::Header>() < PAGE_BYTES);

    if elements.is_empty() || elements.len() > max_reps::<C>() {
        return Err(HypercallError::Status(Status::INVALID_HYPERCALL_INPUT));
    }
    let count = elements.len() as u64;

    let mut page = InputPage::get()?;
    page.write(0, header);
    page.write(size_of_val(header), elements);

    let mut done = 0;
    loop {
        let control = u64::from(C::CODE) | count << REP_COUNT_SHIFT | done << REP_START_SHIFT;
        let result = page.issue(control, None)?;
        let completed = (result >> REP_COUNT_SHIFT) & REP_MASK;
        if completed >= count {
            return Ok(());
        }
        if completed <= done {
            return Err(HypercallError::NoProgress);
        }
        done = completed;
    }
}
