// SPDX-License-Identifier: GPL-2.0

//! Mapping and unmapping a range by as many calls as necessary.
//!
//! One rule keeps this right. Only the number of operations that the hypervisor says it has done
//! counts, whatever status it returns. The next call begins behind these operations, the caller's
//! record changes for these only, and these are undone if the rest fails.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::page_range::{
    unmapped_by_one_call,
    PageRange,
    Unit, //
};

/// How often in a row the hypervisor may ask for memory without doing anything with it.
pub(crate) const FRUITLESS_DEPOSITS_MAX: u32 = 16;

/// The result of one call.
pub(crate) struct CallResult<E> {
    /// How many operations are done, from the first one on.
    pub(crate) done: u64,
    /// Why the hypervisor stopped. `Ok` if it is done, or has paused.
    pub(crate) result: Result<(), E>,
}

/// The hypervisor, for one domain.
pub(crate) trait Hypervisor {
    /// Why a call has failed.
    type Failure: Copy;
    /// What memory it can want.
    type Memory: Copy;
    /// Why no memory could be given.
    type DepositError;

    /// How many units one call maps at most.
    const MAP_MAX: u64;
    /// How many pages one call unmaps at most.
    const UNMAP_MAX: u64;

    /// Maps `units` units from the page number `first` on, onto frames from `frame` on.
    fn map(&self, first: u64, frame: u64, unit: Unit, units: u64) -> CallResult<Self::Failure>;

    /// Unmaps `pages` pages of 4 KiB from the page number `first` on.
    fn unmap(&self, first: u64, pages: u64) -> CallResult<Self::Failure>;

    /// What memory the hypervisor wants, if a call failed because of that.
    fn wanted_memory(failure: Self::Failure) -> Option<Self::Memory>;

    /// Gives the hypervisor what it wants.
    fn deposit(&self, wanted: Self::Memory) -> Result<(), Self::DepositError>;
}

/// Why a range could not be mapped or unmapped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop<F, D> {
    /// The hypervisor refused.
    Refused(F),
    /// The hypervisor wants memory, but the kernel could not give it any.
    NoMemory(D),
}

/// The result for a range.
pub(crate) struct Outcome<H: Hypervisor> {
    /// How many pages of 4 KiB were mapped or unmapped, from the first one on.
    pub(crate) pages: u64,
    /// Why these are not all.
    pub(crate) result: Result<(), Stop<H::Failure, H::DepositError>>,
}

/// How many more deposits may turn out to be useless.
struct Patience(u32);

impl Patience {
    const FULL: Patience = Patience(FRUITLESS_DEPOSITS_MAX);

    /// Gives memory if a failed call wanted that, but not too often.
    fn help<H: Hypervisor>(
        &mut self,
        hypervisor: &H,
        failure: H::Failure,
    ) -> Result<(), Stop<H::Failure, H::DepositError>> {
        let Some(wanted) = H::wanted_memory(failure).filter(|_| self.0 > 0) else {
            return Err(Stop::Refused(failure));
        };
        self.0 -= 1;
        hypervisor.deposit(wanted).map_err(Stop::NoMemory)
    }
}

/// Calls `call` for the rest of a range, until the whole range is done or a call fails for good.
/// `call` gets the number of pages that are done, and the rest. It returns how many pages it did.
fn drive<H: Hypervisor>(
    hypervisor: &H,
    range: PageRange,
    mut call: impl FnMut(u64, PageRange) -> CallResult<H::Failure>,
) -> Outcome<H> {
    let mut patience = Patience::FULL;
    let mut pages = 0;
    while let Some(rest) = range.without_first(pages) {
        let CallResult { done, result } = call(pages, rest);
        pages += done;
        if done > 0 {
            patience = Patience::FULL;
        }
        let helped = match result {
            Ok(()) => Ok(()),
            Err(failure) => patience.help(hypervisor, failure),
        };
        if let Err(stop) = helped {
            return Outcome {
                pages,
                result: Err(stop),
            };
        }
    }
    Outcome {
        pages,
        result: Ok(()),
    }
}

/// Maps a range of units onto frames from `frame` on. Calls `record` for each part that was mapped,
/// with its pages and the first page's frame.
pub(crate) fn map<H: Hypervisor>(
    hypervisor: &H,
    range: PageRange,
    frame: u64,
    unit: Unit,
    mut record: impl FnMut(PageRange, u64),
) -> Outcome<H> {
    drive(hypervisor, range, |before, rest| {
        let units = rest.first_pages(H::MAP_MAX * unit.pages()).count() / unit.pages();
        let mut outcome = hypervisor.map(rest.first(), frame + before, unit, units);
        outcome.done *= unit.pages();
        if outcome.done > 0 {
            record(rest.first_pages(outcome.done), frame + before);
        }
        outcome
    })
}

/// Unmaps a range that was mapped in units of `unit`, or in smaller ones. Calls `record` for each
/// part that was unmapped.
pub(crate) fn unmap<H: Hypervisor>(
    hypervisor: &H,
    range: PageRange,
    unit: Unit,
    mut record: impl FnMut(PageRange),
) -> Outcome<H> {
    drive(hypervisor, range, |_, rest| {
        let pages = unmapped_by_one_call(rest, unit, H::UNMAP_MAX);
        let outcome = hypervisor.unmap(rest.first(), pages);
        if outcome.done > 0 {
            record(rest.first_pages(outcome.done));
        }
        outcome
    })
}
