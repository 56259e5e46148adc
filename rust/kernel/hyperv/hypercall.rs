// SPDX-License-Identifier: GPL-2.0

//! Memory-based hypercalls.
//!
//! A call is a type that implements [`Call`] (one input block, perhaps one output block) or
//! [`RepCall`](super::rep_call::RepCall) (a header and a list of elements). The types tie the call
//! code to its layouts, so that a caller can neither mix them up nor read an output that the
//! hypervisor has not written. That code and layouts belong together is promised by who implements
//! the trait, which is `unsafe` therefore.
//!
//! [`call`] serves every simple call. A call that is made all the time is better prepared:
//! [`fixed_call`](super::fixed_call), [`rep_call`](super::rep_call).
//!
//! Input and output share the per-CPU input page of the C side (`hyperv_pcpu_input_arg`), which is
//! valid only with interrupts off. [`call`] turns them off for the length of the hypercall; nothing
//! is allocated, locked or printed in between.
//!
//! # Examples
//!
//! ```ignore
//! struct CreateDomain;
//!
//! // SAFETY: These are the call's blocks by its description, packed and made of integers.
//! unsafe impl hypercall::Call for CreateDomain {
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
    page::{
        Page,
        PAGE_SHIFT, //
    },
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

/// Bytes of a hypercall page; independent of the kernel's page size.
pub const PAGE_BYTES: usize = 4096;

/// A simple hypercall.
///
/// # Safety
///
/// `Input` and `Output` must be the blocks of the call `CODE`: the hypervisor neither reads more
/// than the former, but for memory that the input itself names, nor writes more than the latter.
/// Every byte of every `Input` is initialised, and none changes behind a shared reference; any
/// bytes are a valid `Output`.
///
/// What a call makes devices do is not part of the promise: a domain is worth as much as the table
/// that whoever configures it names.
pub unsafe trait Call {
    /// The call code, bits 15:0 of the control word.
    const CODE: u16;
    /// The call's name, for messages.
    const NAME: &'static str;
    /// The input block.
    type Input;
    /// The output block; `()` when there is none.
    type Output;
}

/// The hypercall input page of one CPU, with local interrupts off.
///
/// # Invariants
///
/// `page` points to [`PAGE_BYTES`] bytes that nothing but this object accesses, and local
/// interrupts are off, as long as the object lives.
pub(super) struct InputPage {
    page: NonNull<u8>,
    irq_flags: usize,
    _not_send: NotThreadSafe,
}

impl InputPage {
    #[inline]
    pub(super) fn get() -> Result<InputPage, HypercallError> {
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
                unsafe { bindings::hv_local_irq_restore(irq_flags) };
                Err(HypercallError::Unavailable)
            }
        }
    }

    /// Copies the input to the page; that it fits was checked when the caller was built.
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= PAGE_BYTES);
        // SAFETY: By the type invariant the page is ours, and the callers keep the bytes inside it.
        unsafe {
            self.page
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len())
        };
    }

    /// Copies a part of the input to `offset`; what does not fit is left out.
    #[inline]
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let ends_within = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= PAGE_BYTES);
        debug_assert!(ends_within);
        if !ends_within {
            return;
        }
        // SAFETY: By the type invariant the page is ours, and the bytes end inside it.
        unsafe {
            self.page
                .add(offset)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len())
        };
    }

    /// Makes a call for `count` operations, at most 4095, with the input at offset 0 and no output.
    #[inline]
    pub(super) fn issue_reps(&mut self, code: u16, count: usize) -> ResultWord {
        self.issue_reps_at(code, count, 0)
    }

    /// The same with the output in a page of its own, which the call's output fits into.
    #[inline]
    pub(super) fn issue_reps_into(
        &mut self,
        code: u16,
        count: usize,
        output: &mut Page,
    ) -> ResultWord {
        // SAFETY: The function only computes; the page is valid.
        let number = unsafe { bindings::page_to_pfn(output.as_ptr()) };
        self.issue_reps_at(code, count, (number as bindings::phys_addr_t) << PAGE_SHIFT)
    }

    #[inline]
    fn issue_reps_at(
        &mut self,
        code: u16,
        count: usize,
        output: bindings::phys_addr_t,
    ) -> ResultWord {
        // SAFETY: The function only computes.
        let input = unsafe { bindings::virt_to_phys(self.page.as_ptr().cast()) };
        let control = u64::from(code) | (count as u64) << 32;
        // SAFETY: The input lies in a page that is ours by the type invariant; the callers wrote
        // what belongs to the call code, with so many elements. There is no output, or it is a page
        // that the caller has borrowed for itself, and which the output fits into.
        unsafe { issue(control, input, output) }
    }

    /// Makes the call with the input at offset 0 and, if given, the output at `output`.
    #[inline]
    fn issue(&mut self, code: u16, output: Option<usize>) -> Result<(), HypercallError> {
        // SAFETY: The function only computes.
        let input = unsafe { bindings::virt_to_phys(self.page.as_ptr().cast()) };
        let behind = |offset| input.wrapping_add(offset as bindings::phys_addr_t);
        let output = output.map_or(0, behind);
        // SAFETY: Both blocks lie in a page that is ours by the type invariant; the callers wrote
        // the input that belongs to the call code, and keep the offset inside the page.
        let result = unsafe { issue(code.into(), input, output) };
        if result.is_success() {
            return Ok(());
        }
        Err(failure(result))
    }
}

impl Drop for InputPage {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The flags were saved on this CPU, which the object cannot have left.
        unsafe { bindings::hv_local_irq_restore(self.irq_flags) };
    }
}

/// The result word of a hypercall: the status in bits 15:0, the reps completed in bits 43:32; all
/// ones when there is no hypercall page.
#[must_use]
#[derive(Clone, Copy)]
pub(super) struct ResultWord(pub(super) u64);

impl ResultWord {
    /// Whether a simple call did what was asked.
    #[inline]
    pub(super) fn is_success(self) -> bool {
        self.0 as u16 == 0
    }
}

/// Makes a hypercall with blocks at physical addresses, 0 for none.
///
/// # Safety
///
/// The blocks must be those that the call code in `control` takes; until the function returns, the
/// input must not change, and nobody else may use the output.
#[inline]
pub(super) unsafe fn issue(
    control: u64,
    input: bindings::phys_addr_t,
    output: bindings::phys_addr_t,
) -> ResultWord {
    // SAFETY: By the caller's promise.
    ResultWord(unsafe { bindings::hv_hypercall_at(control, input, output) })
}

/// What the result word of a call says that was not carried out.
#[cold]
pub(super) fn failure(result: ResultWord) -> HypercallError {
    match Status::check(result.0) {
        _ if result.0 == u64::MAX => HypercallError::Unavailable,
        Err(status) => HypercallError::Status(status),
        Ok(()) => HypercallError::NoProgress,
    }
}

/// The bytes of a block.
///
/// # Safety
///
/// Every byte of every `T` must be initialised, and none may change behind a shared reference.
#[inline(always)]
pub(super) unsafe fn bytes_of<T: ?Sized>(block: &T) -> &[u8] {
    // SAFETY: These are the bytes of `block`, which are initialised and do not change by the
    // caller's promise.
    unsafe { core::slice::from_raw_parts((&raw const *block).cast(), size_of_val(block)) }
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
    const_assert!(output_offset::<C>() + size_of::<C::Output>() <= PAGE_BYTES);

    let mut output = MaybeUninit::<C::Output>::zeroed();
    // SAFETY: The bytes are those of `output`, which is initialised.
    let bytes = unsafe {
        core::slice::from_raw_parts_mut(output.as_mut_ptr().cast::<u8>(), size_of::<C::Output>())
    };
    // SAFETY: By the trait's promise the input is all bytes.
    let input = unsafe { bytes_of(input) };
    call_with(C::CODE, input, output_offset::<C>(), bytes)?;
    // SAFETY: By the trait's promise any bytes are a valid value.
    Ok(unsafe { output.assume_init() })
}

/// Makes a simple hypercall with any input, and any output at an offset behind it, both within a
/// page. Written once, not once for each call.
fn call_with(
    code: u16,
    input: &[u8],
    offset: usize,
    output: &mut [u8],
) -> Result<(), HypercallError> {
    let mut page = InputPage::get()?;
    page.write(input);
    if output.is_empty() {
        return page.issue(code, None);
    }
    page.issue(code, Some(offset))?;
    // SAFETY: The hypervisor has written the block, which ends before the page does; both are
    // valid and do not overlap.
    unsafe {
        page.page
            .add(offset)
            .copy_to_nonoverlapping(NonNull::from(&mut *output).cast(), output.len());
    }
    Ok(())
}

#[macros::kunit_tests(rust_kernel_hyperv_hypercall)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_decides_on_success() {
        assert!(ResultWord(0).is_success());
        // The reps, and bits that mean nothing.
        assert!(ResultWord(0x0fff_0000_0000).is_success());
        assert!(ResultWord(0xffff_f000_ffff_0000).is_success());
        assert!(!ResultWord(5).is_success());
        assert!(!ResultWord(u64::MAX).is_success());
    }

    #[test]
    fn all_ones_is_no_status() {
        let of = |result| failure(ResultWord(result));
        assert!(of(u64::MAX) == HypercallError::Unavailable);
        assert!(of(0xffff) != HypercallError::Unavailable);
        assert!(of(0x0003_0000_0057) == HypercallError::Status(Status::INVALID_DEVICE_ID));
        assert!(of(0) == HypercallError::NoProgress);
    }

    struct Odd;

    // SAFETY: The call is never made.
    unsafe impl Call for Odd {
        const CODE: u16 = 0;
        const NAME: &'static str = "odd";
        type Input = [u8; 13];
        type Output = u64;
    }

    #[test]
    fn the_output_is_behind_the_input() {
        assert_eq!(output_offset::<Odd>(), 16);
    }
}
