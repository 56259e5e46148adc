// SPDX-License-Identifier: GPL-2.0

//! Memory-based hypercalls.
//!
//! A call is a type that implements [`Call`] or [`RepCall`](super::rep_call::RepCall). A [`Call`]
//! has one input block and at most one output block. A rep call has a header and a list of
//! elements. The types tie the call code to its layouts. So a caller can neither mix these up, nor
//! read an output that the hypervisor has not written. Whoever implements the trait promises that
//! code and layouts belong together, so the trait is `unsafe`.
//!
//! [`call`] serves every simple call. A call that is made very often is better prepared in advance,
//! by [`fixed_call`](super::fixed_call) or [`rep_call`](super::rep_call).
//!
//! Input and output share the per-CPU input page of the C side (`hyperv_pcpu_input_arg`). That page
//! may be used only with interrupts off, so [`call`] turns them off for the length of the
//! hypercall. It neither allocates, nor locks, nor prints meanwhile.
//!
//! # Examples
//!
//! ```
//! use kernel::hyperv::{
//!     hypercall,
//!     status::HypercallError, //
//! };
//!
//! struct GetPartitionId;
//!
//! // SAFETY: By the specification the call has no input, and returns a number of 64 bits.
//! unsafe impl hypercall::Call for GetPartitionId {
//!     const CODE: u16 = 0x46;
//!     const NAME: &'static str = "HVCALL_GET_PARTITION_ID";
//!     type Input = ();
//!     type Output = u64;
//! }
//!
//! fn own_id() -> Result<u64, HypercallError> {
//!     hypercall::call::<GetPartitionId>(&())
//! }
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

/// The size of a page of the hypervisor in bytes, whatever the kernel's page size is.
pub const PAGE_BYTES: usize = 4096;

/// A simple hypercall.
///
/// # Safety
///
/// `Input` and `Output` must be the blocks of the call `CODE`. The hypervisor must read nothing but
/// the input and memory that the input names, and write nothing but the output. Every byte of every
/// `Input` must be initialised, and must not change behind a shared reference. Any bytes must be a
/// valid `Output`.
///
/// The promise does not cover DMA. Whether accesses of devices are safe depends on the page table
/// that is passed to the call that configures their domain.
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
/// As long as the object lives, `page` points to [`PAGE_BYTES`] bytes that only this object
/// accesses, and local interrupts are off.
pub(super) struct InputPage {
    page: NonNull<u8>,
    irq_flags: usize,
    _not_send: NotThreadSafe,
}

impl InputPage {
    #[inline]
    pub(super) fn get() -> Result<InputPage, HypercallError> {
        let mut irq_flags = 0;
        // SAFETY: `irq_flags` is valid for a write.
        let page: *mut u8 = unsafe { bindings::hv_input_page_get(&mut irq_flags) }.cast();
        match NonNull::new(page) {
            // INVARIANT: The C side allocates a 4 KiB page for each CPU. All its users access the
            // page with interrupts off, and they stay off until `drop`. `NotThreadSafe` keeps the
            // object on this CPU.
            Some(page) => Ok(InputPage {
                page,
                irq_flags,
                _not_send: NotThreadSafe,
            }),
            None => {
                // SAFETY: The call above has saved the flags, on this CPU.
                unsafe { bindings::hv_local_irq_restore(irq_flags) };
                Err(HypercallError::Unavailable)
            }
        }
    }

    /// Copies the input to the page. The caller must have made sure at build time that the input
    /// fits.
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= PAGE_BYTES);
        // SAFETY: By the type invariant, only this object accesses the page. The callers make sure
        // that the bytes fit.
        unsafe {
            self.page
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len())
        };
    }

    /// Copies a part of the input to `offset`, unless it would end outside the page.
    #[inline]
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let ends_within = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= PAGE_BYTES);
        debug_assert!(ends_within);
        if !ends_within {
            return;
        }
        // SAFETY: By the type invariant, only this object accesses the page. The bytes end inside
        // it.
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

    /// As [`Self::issue_reps`], with the output in a page of its own. The call's output must fit
    /// there.
    #[inline]
    pub(super) fn issue_reps_into(
        &mut self,
        code: u16,
        count: usize,
        output: &mut Page,
    ) -> ResultWord {
        // SAFETY: The function only computes, and the page is valid.
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
        // SAFETY: The input is in the page, which only this object accesses. The callers have
        // written what the call code takes, with `count` elements. Either there is no output, or
        // the caller has borrowed the output page exclusively, and the output fits there.
        unsafe { issue(control, input, output) }
    }

    /// Makes a call with the input at offset 0 and, if there is an output, the output at `output`.
    #[inline]
    fn issue(&mut self, code: u16, output: Option<usize>) -> Result<(), HypercallError> {
        // SAFETY: The function only computes.
        let input = unsafe { bindings::virt_to_phys(self.page.as_ptr().cast()) };
        let behind = |offset| input.wrapping_add(offset as bindings::phys_addr_t);
        let output = output.map_or(0, behind);
        // SAFETY: Both blocks are in the page, which only this object accesses. The callers have
        // written the input that the call code takes, and the output ends inside the page.
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
        // SAFETY: `get` has saved the flags on this CPU, and the object cannot have left the CPU.
        unsafe { bindings::hv_local_irq_restore(self.irq_flags) };
    }
}

/// The result word of a hypercall. Bits 15:0 are the status, bits 43:32 the number of reps that are
/// done. All ones mean that there is no hypercall page.
#[must_use]
#[derive(Clone, Copy)]
pub(super) struct ResultWord(pub(super) u64);

impl ResultWord {
    /// Whether a simple call has succeeded.
    #[inline]
    pub(super) fn is_success(self) -> bool {
        self.0 as u16 == 0
    }
}

/// Makes a hypercall with blocks at physical addresses. An address of 0 means no block.
///
/// # Safety
///
/// The blocks must be those that the call code in `control` takes. Until the function returns, the
/// input must not change, and nobody else may use the output.
#[inline]
pub(super) unsafe fn issue(
    control: u64,
    input: bindings::phys_addr_t,
    output: bindings::phys_addr_t,
) -> ResultWord {
    // SAFETY: The caller promises the blocks that the call takes, and that nobody interferes.
    ResultWord(unsafe { bindings::hv_hypercall_at(control, input, output) })
}

/// Why a call failed, from its result word.
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
    // SAFETY: The pointer and the length are those of `block`. The caller promises that all bytes
    // are initialised and do not change.
    unsafe { core::slice::from_raw_parts((&raw const *block).cast(), size_of_val(block)) }
}

/// The offset of `C`'s output: right behind the input, at a multiple of 8 bytes.
const fn output_offset<C: Call>() -> usize {
    size_of::<C::Input>().next_multiple_of(8)
}

/// Makes a simple hypercall.
///
/// Context: any but NMI. Interrupts are off while the hypervisor works.
///
/// # Errors
///
/// [`HypercallError`]. The output is not read then.
#[inline]
pub fn call<C: Call>(input: &C::Input) -> Result<C::Output, HypercallError> {
    const_assert!(output_offset::<C>() + size_of::<C::Output>() <= PAGE_BYTES);

    let mut output = MaybeUninit::<C::Output>::zeroed();
    // SAFETY: The bytes are those of `output`. They are initialised, and nobody else uses them.
    let bytes = unsafe {
        core::slice::from_raw_parts_mut(output.as_mut_ptr().cast::<u8>(), size_of::<C::Output>())
    };
    // SAFETY: The trait promises that all bytes of the input are initialised and do not change.
    let input = unsafe { bytes_of(input) };
    call_with(C::CODE, input, output_offset::<C>(), bytes)?;
    // SAFETY: The trait promises that any bytes are a valid output.
    Ok(unsafe { output.assume_init() })
}

/// Makes a simple hypercall with an input, and an output at `offset`. Both must be within a page.
/// Not generic: one copy serves all calls.
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
    // SAFETY: The hypervisor has written the block, which ends inside the page. The page and
    // `output` are valid and do not overlap.
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
        // A full rep count, and reserved bits.
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
