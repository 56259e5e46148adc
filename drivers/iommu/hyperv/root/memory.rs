// SPDX-License-Identifier: GPL-2.0

//! Memory for the hypervisor's tables.

use super::transfer::FRUITLESS_DEPOSITS_MAX;
use kernel::{
    alloc::Flags,
    hyperv::{
        memory::{
            deposit,
            DepositError,
            DEPOSIT_MAX, //
        },
        status::HypercallError, //
    },
    prelude::*, //
};

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
    deposit(PAGES, flags).map(|_| ())
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
