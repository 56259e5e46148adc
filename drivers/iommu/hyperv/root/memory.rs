// SPDX-License-Identifier: GPL-2.0

//! Memory for the hypervisor's tables.

use super::transfer::FRUITLESS_DEPOSITS_MAX;
use kernel::{
    alloc::Flags,
    hyperv::{
        memory::{
            self,
            may_sleep,
            DepositError,
            Offer,
            Wanted,
            BLOCK_PAGES,
            DEPOSIT_MAX, //
        },
        status::HypercallError, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        new_spinlock_irq,
        SpinLockIrq, //
    },
};

/// How many pages are given at a time.
///
/// The hypervisor does not say how many it lacks. It keeps what it does not use for the next call.
const PAGES: usize = DEPOSIT_MAX;

/// What the driver gives to the hypervisor.
#[pin_data]
pub(crate) struct Supply {
    /// How many pages were given.
    given: Atomic<u64>,
    /// Pages for when the kernel has none at once. An unmap may not sleep, and closes its domain if
    /// it fails.
    #[pin]
    reserve: SpinLockIrq<Option<Offer>>,
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

impl Supply {
    /// Nothing was given so far, and there is no reserve.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            given: Atomic::new(0),
            reserve <- new_spinlock_irq!(None),
        })
    }

    /// Fills the reserve, if it is empty and there is memory.
    ///
    /// Context: may sleep.
    pub(crate) fn fill_reserve(&self) {
        if self.reserve.lock().is_some() {
            return;
        }
        // A block serves whatever the hypervisor wants. It is not worth waiting for.
        let offer = Offer::block(GFP_NOWAIT).or_else(|_| Offer::pages(BLOCK_PAGES, GFP_KERNEL));
        if let Ok(offer) = offer {
            let before = self.reserve.lock().replace(offer);
            drop(before);
        }
    }

    /// Gives the hypervisor some memory: new pages, or those of the reserve if there are no new
    /// ones and the caller cannot wait.
    ///
    /// Context: may sleep if `flags` say so.
    ///
    /// # Errors
    ///
    /// [`DepositError`].
    pub(crate) fn give(&self, wanted: Wanted, flags: Flags) -> Result<(), DepositError> {
        let offer = match wanted {
            Wanted::Pages => Offer::pages(PAGES, flags),
            Wanted::Block => Offer::block(flags),
        };
        let offer = match offer {
            Err(error) if !may_sleep(flags) => self.reserve.lock().take().ok_or(error),
            offer => offer,
        };
        let pages = offer
            .map_err(DepositError::Memory)?
            .deposit()
            .map_err(DepositError::Refused)?;
        self.given.fetch_add(pages as u64, Relaxed);
        if may_sleep(flags) {
            self.fill_reserve();
        }
        Ok(())
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
        &self,
        flags: Flags,
        mut call: impl FnMut() -> Result<T, HypercallError>,
    ) -> Result<Result<T, HypercallError>> {
        for _ in 0..FRUITLESS_DEPOSITS_MAX {
            let result = call();
            match result.as_ref().err().and_then(|f| f.wanted_memory()) {
                Some(wanted) => self.give(wanted, flags)?,
                None => return Ok(result),
            }
        }
        Ok(call())
    }

    /// Takes back the pages that the hypervisor does not use, for the next kernel. This kernel does
    /// not use them again.
    ///
    /// Context: may sleep; after domains were deleted.
    pub(crate) fn take_back(&self) -> Balance {
        let withdrawn = memory::withdraw();
        let given = self.given.load(Relaxed);
        Balance {
            given,
            kept: given.saturating_sub(withdrawn.pages),
            result: withdrawn.result,
        }
    }
}
