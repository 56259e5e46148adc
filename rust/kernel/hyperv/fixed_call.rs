// SPDX-License-Identifier: GPL-2.0

//! Simple hypercalls whose input never changes.
//!
//! The input block is written once. Nothing writes it again, so any number of CPUs may make the
//! call at a time, with interrupts on or off. No memory-based call costs less.
//!
//! # Examples
//!
//! ```
//! use kernel::hyperv::{
//!     fixed_call::{
//!         FixedCall,
//!         Reserved, //
//!     },
//!     hypercall::Call,
//!     status::HypercallError, //
//! };
//!
//! struct FlushDomain;
//!
//! // SAFETY: By the call's description its input consists of these numbers, and it has no output.
//! unsafe impl Call for FlushDomain {
//!     const CODE: u16 = 0xd0;
//!     const NAME: &'static str = "HVCALL_FLUSH_DEVICE_DOMAIN";
//!     type Input = [u64; 4];
//!     type Output = ();
//! }
//!
//! fn flush(call: &FixedCall<FlushDomain>) -> Result<(), HypercallError> {
//!     let outcome = call.make();
//!     if outcome.is_success() {
//!         return Ok(());
//!     }
//!     outcome.check()
//! }
//!
//! // Where allocations may fail, memory is reserved before the input is known.
//! let reserved = Reserved::<FlushDomain>::new()?;
//! let _call = reserved.prepare([u64::MAX, 0, 1, 0]);
//! # Ok::<(), Error>(())
//! ```

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

/// The size of the largest input, in bytes. It is also the block's alignment, so that a block lies
/// within one page.
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
        // SAFETY: The function only computes. Memory of a `KBox` is in the direct map, as it
        // expects.
        let address = unsafe { bindings::virt_to_phys(pointer) };
        // INVARIANT: Nothing borrows the box mutably, and moving the box does not move its content.
        FixedCall {
            address,
            _input: block,
        }
    }
}

/// A call with its prepared input.
///
/// # Invariants
///
/// `address` is the physical address of the block in `_input`, and nothing writes the block.
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
        // SAFETY: By the type invariant, the input is at `address` and does not change. It is that
        // of the call, which has no output.
        let result = unsafe { issue(C::CODE.into(), self.address, 0) };
        Outcome {
            result,
            _call: PhantomData,
        }
    }
}

/// The result of a [`FixedCall`]. A caller sees by one instruction whether the call has succeeded.
/// It can leave everything else to code that is out of the way.
#[must_use]
pub struct Outcome<C: Call> {
    result: ResultWord,
    _call: PhantomData<C>,
}

impl<C: Call> Outcome<C> {
    /// Whether the call has succeeded.
    #[inline(always)]
    pub fn is_success(&self) -> bool {
        self.result.is_success()
    }

    /// The result, with the reason of a failure.
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
