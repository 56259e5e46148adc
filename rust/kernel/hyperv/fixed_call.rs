// SPDX-License-Identifier: GPL-2.0

//! Simple hypercalls whose input never changes.
//!
//! The input block is written once. As nothing writes it again, any number of CPUs may make the
//! call at a time, with interrupts on or off: this is the cheapest memory-based call there is.

use super::{
    hypercall::{
        failure,
        issue,
        Call,
        ResultWord, //
    },
    status::HypercallError, //
};
use crate::{
    bindings,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::{
        size_of,
        MaybeUninit, //
    },
};

/// Bytes of the largest input; also the block's alignment, so that it lies within one page.
const BLOCK_BYTES: usize = 64;

#[repr(C, align(64))]
struct Block<T>(T);

/// Memory for the input of a [`FixedCall`].
pub struct Reserved<C: Call<Output = ()>>(KBox<MaybeUninit<Block<C::Input>>>);

impl<C: Call<Output = ()>> Reserved<C> {
    /// Allocates the memory.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new() -> Result<Self> {
        const_assert!(size_of::<C::Input>() <= BLOCK_BYTES);

        Ok(Reserved(KBox::new_uninit(GFP_KERNEL)?))
    }

    /// Prepares the call with `input`.
    ///
    /// Context: any.
    pub fn prepare(self, input: C::Input) -> FixedCall<C> {
        let block = KBox::write(self.0, Block(input));
        let pointer = (&raw const *block).cast_mut().cast();
        // SAFETY: The function only computes; memory of `KBox` is in the direct map.
        let address = unsafe { bindings::virt_to_phys(pointer) };
        // INVARIANT: The box is never borrowed mutably, and does not move its content.
        FixedCall {
            address,
            _input: block,
        }
    }
}

/// A call with its input.
///
/// # Invariants
///
/// `address` is the physical address of the block in `_input`, which nothing writes any more.
pub struct FixedCall<C: Call<Output = ()>> {
    address: bindings::phys_addr_t,
    _input: KBox<Block<C::Input>>,
}

impl<C: Call<Output = ()>> FixedCall<C> {
    /// Makes the call.
    ///
    /// Context: any.
    #[inline(always)]
    pub fn make(&self) -> Outcome<C> {
        // SAFETY: By the type invariant the input is the call's, and does not change; it has no
        // output.
        let result = unsafe { issue(C::CODE.into(), self.address, 0) };
        Outcome {
            result,
            _call: PhantomData,
        }
    }
}

/// What came of a [`FixedCall`]. It costs a caller one instruction to see that all is well; what
/// else there is to be said can be left to code that is not in the way.
#[must_use]
pub struct Outcome<C: Call> {
    result: ResultWord,
    _call: PhantomData<C>,
}

impl<C: Call> Outcome<C> {
    /// Whether the call did what was asked.
    #[inline(always)]
    pub fn is_success(&self) -> bool {
        self.result.is_success()
    }

    /// Success or failure.
    ///
    /// # Errors
    ///
    /// [`HypercallError`].
    #[inline]
    pub fn check(self) -> Result<(), HypercallError> {
        if self.is_success() {
            return Ok(());
        }
        Err(failure(self.result))
    }
}
