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

/// Pages that were given.
static GIVEN: Atomic<u64> = Atomic::new(0);

/// How many pages are given at a time.
///
/// How many the hypervisor lacks it does not say. What it does not use it keeps for the next call.
const PAGES: usize = DEPOSIT_MAX;

/// Gives the hypervisor some memory.
///
/// Context: as `flags` say.
///
/// # Errors
///
/// [`DepositError`].
pub(crate) fn give(flags: Flags) -> Result<(), DepositError> {
    let pages = deposit(PAGES, flags)?;
    GIVEN.fetch_add(pages as u64, Relaxed);
    Ok(())
}

/// What became of the pages that were given.
pub(crate) struct Balance {
    /// How many were given.
    pub(crate) given: u64,
    /// How many of them the hypervisor keeps, at least: what came back may have been deposited by
    /// other parts of the kernel.
    pub(crate) kept: u64,
    /// Why the hypervisor may keep some that it does not use.
    pub(crate) result: Result<(), DepositError>,
}

/// Has the hypervisor give back what it does not use, for the next kernel. This one does not use it
/// any more.
///
/// Context: may sleep; when domains were deleted.
pub(crate) fn take_back() -> Balance {
    let withdrawn = memory::withdraw();
    let given = GIVEN.load(Relaxed);
    Balance {
        given,
        kept: given.saturating_sub(withdrawn.pages),
        result: withdrawn.result,
    }
}

/// Makes a call as long as it wants memory, and gives that.
///
/// Context: as `flags` say.
///
/// # Errors
///
/// Why no memory could be given. What the call itself answers is in the inner result.
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
