// SPDX-License-Identifier: GPL-2.0

//! Memory for the hypervisor's tables.

use super::transfer::FRUITLESS_DEPOSITS_MAX;
use kernel::{
    alloc::Flags,
    hyperv::{
        memory::{
            self,
            deposit,
            DepositError,
            DEPOSIT_MAX, //
        },
        status::HypercallError, //
    },
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    },
};

/// How many pages the driver has given to the hypervisor.
static GIVEN: Atomic<u64> = Atomic::new(0);

/// How many pages are given at a time.
///
/// The hypervisor does not say how many it lacks. It keeps what it does not use for the next call.
const PAGES: usize = DEPOSIT_MAX;

/// Gives the hypervisor some memory.
///
/// Context: may sleep if `flags` say so.
///
/// # Errors
///
/// [`DepositError`].
pub(crate) fn give(flags: Flags) -> Result<(), DepositError> {
    let pages = deposit(PAGES, flags)?;
    GIVEN.fetch_add(pages as u64, Relaxed);
    Ok(())
}

/// The balance of pages given to the hypervisor and taken back.
pub(crate) struct Balance {
    /// How many were given.
    pub(crate) given: u64,
    /// How many of them the hypervisor keeps, at least: other parts of the kernel may have
    /// deposited some of the pages that came back.
    pub(crate) kept: u64,
    /// Why the hypervisor may keep pages that it does not use.
    pub(crate) result: Result<(), DepositError>,
}

/// Takes back the pages that the hypervisor does not use, for the next kernel. This kernel does not
/// use them again.
///
/// Context: may sleep; after domains were deleted.
pub(crate) fn take_back() -> Balance {
    let withdrawn = memory::withdraw();
    let given = GIVEN.load(Relaxed);
    Balance {
        given,
        kept: given.saturating_sub(withdrawn.pages),
        result: withdrawn.result,
    }
}

/// Makes a call, and repeats it while it fails for lack of memory. Gives memory before each
/// repetition.
///
/// Context: may sleep if `flags` say so.
///
/// # Errors
///
/// Why no memory could be given. The result of the call itself is the inner result.
pub(crate) fn with_deposits<T>(
    flags: Flags,
    mut call: impl FnMut() -> Result<T, HypercallError>,
) -> Result<Result<T, HypercallError>> {
    for _ in 0..FRUITLESS_DEPOSITS_MAX {
        match call() {
            Err(failure) if failure.wants_memory() => give(flags)?,
            result => return Ok(result),
        }
    }
    Ok(call())
}
