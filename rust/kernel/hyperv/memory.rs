// SPDX-License-Identifier: GPL-2.0

//! Pages that the partition gives to the hypervisor.
//!
//! Some partitions pay for the hypervisor's work with memory of their own: those that create
//! partitions, and those for which the hypervisor keeps tables. If the hypervisor lacks memory, a
//! call fails with a status that asks for some: see [`Status::wanted_memory`]. The partition then
//! deposits pages and calls again. The partition must not touch a page while the hypervisor has it.
//!
//! The C side has `hv_call_deposit_pages()`, which sleeps. Here the caller says how memory is
//! allocated, can do so in advance, and learns what the hypervisor has answered.

use super::{
    list_call::{
        self,
        ListCall,
        Progress,
        YieldingCall, //
    },
    status::{
        HypercallError,
        Status, //
    },
};
use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    page::Page,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// How many pages one [`Offer`] has at most.
pub const DEPOSIT_MAX: usize = 32;

/// The order of the number of pages in a block. `HV_MAX_CONTIGUOUS_ALLOCATION_PAGES` of the C side
/// is as many.
const BLOCK_ORDER: u32 = 3;
/// How many pages a block has: [`Offer::block`].
pub const BLOCK_PAGES: usize = 1 << BLOCK_ORDER;

/// What memory the hypervisor wants before it can carry out a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Pages, wherever they are: [`Offer::pages`].
    Pages,
    /// Pages that follow one another: [`Offer::block`].
    Block,
}

impl Status {
    /// What memory the hypervisor lacks, if a call failed because no memory is left for the calling
    /// partition.
    pub fn wanted_memory(self) -> Option<Wanted> {
        match self {
            Status::INSUFFICIENT_MEMORY | Status::INSUFFICIENT_ROOT_MEMORY => Some(Wanted::Pages),
            Status::INSUFFICIENT_CONTIGUOUS_MEMORY
            | Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY => Some(Wanted::Block),
            _ => None,
        }
    }
}

impl HypercallError {
    /// As [`Status::wanted_memory`].
    pub fn wanted_memory(self) -> Option<Wanted> {
        match self {
            HypercallError::Status(status) => status.wanted_memory(),
            HypercallError::Unavailable | HypercallError::NoProgress => None,
        }
    }
}

/// Why no page was deposited, or not all pages were withdrawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DepositError {
    /// The kernel has no memory.
    Memory(AllocError),
    /// The hypervisor took no page, or gave no further page back.
    Refused(HypercallError),
}

impl From<DepositError> for Error {
    fn from(error: DepositError) -> Error {
        match error {
            DepositError::Memory(error) => error.into(),
            DepositError::Refused(failure) => failure.into(),
        }
    }
}

// Not public: each page that the list names is lost to the kernel.
struct DepositMemory;

// SAFETY: By `struct hv_deposit_memory`, the header is a partition and the elements are page
// numbers. All are integers. The call takes the pages of the list away from the kernel. The type is
// private to this file, which lists only pages that it owns (`Offer::deposit`).
unsafe impl ListCall for DepositMemory {
    const CODE: u16 = bindings::HVCALL_DEPOSIT_MEMORY as u16;
    const NAME: &'static str = "HVCALL_DEPOSIT_MEMORY";
    type Header = u64;
    type Element = u64;
}

struct WithdrawMemory;

// SAFETY: By `struct hv_input_withdraw_memory` and `hv_output_withdraw_memory`, this is the call's
// input, packed and made of integers, and the output consists of page numbers. The call takes
// nothing from the kernel, and the kernel does not use the pages that come back.
unsafe impl YieldingCall for WithdrawMemory {
    const CODE: u16 = bindings::HVCALL_WITHDRAW_MEMORY as u16;
    const NAME: &'static str = "HVCALL_WITHDRAW_MEMORY";
    type Header = [u64; 2];
}

/// The name of the call that [`withdraw`] makes, for messages.
pub const WITHDRAW: &str = WithdrawMemory::NAME;

/// The result of [`withdraw`].
#[must_use]
#[derive(Clone, Copy)]
pub struct Withdrawn {
    /// How many pages came back.
    pub pages: u64,
    /// Why pages that the hypervisor does not use may be missing.
    pub result: Result<(), DepositError>,
}

/// What is left to do after a call that withdraws.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The hypervisor may have more pages to give back.
    More,
    /// The hypervisor has given back all that it does not use.
    Nothing,
    /// The hypervisor did not say whether it has more.
    Unknown(HypercallError),
}

impl Rest {
    fn after(progress: Progress) -> Rest {
        match progress.result {
            Ok(()) => Rest::More,
            // Linux's driver for partitions also takes this status as the end.
            Err(failure) if failure.is(Status::NO_RESOURCES) => Rest::Nothing,
            Err(HypercallError::NoProgress) => Rest::Nothing,
            Err(failure) => Rest::Unknown(failure),
        }
    }
}

/// Takes back pages that this partition has deposited, by [`Offer::deposit`] or otherwise. The
/// hypervisor keeps the pages that it uses.
///
/// The pages do not go back to the kernel's allocator. This function is for a kernel that is about
/// to be replaced: the next kernel takes all memory for its own, and does not know of deposits.
///
/// Context: may sleep.
pub fn withdraw() -> Withdrawn {
    let mut withdrawn = Withdrawn {
        pages: 0,
        result: Ok(()),
    };
    let mut output = match Page::alloc_page(GFP_KERNEL | __GFP_NOWARN) {
        Ok(page) => page,
        Err(error) => {
            withdrawn.result = Err(DepositError::Memory(error));
            return withdrawn;
        }
    };
    // The second word may name a NUMA node. 0 names none in particular.
    let own = [bindings::HV_PVIOMMU_PARTITION_SELF as u64, 0];
    loop {
        let progress = list_call::make_yielding::<WithdrawMemory>(&own, &mut output);
        withdrawn.pages += progress.done as u64;
        match Rest::after(progress) {
            Rest::More => {}
            Rest::Nothing => return withdrawn,
            Rest::Unknown(failure) => {
                withdrawn.result = Err(DepositError::Refused(failure));
                return withdrawn;
            }
        }
    }
}

/// Whether an allocation by these flags may sleep.
pub fn may_sleep(flags: Flags) -> bool {
    flags.as_raw() & (1 << bindings::___GFP_DIRECT_RECLAIM_BIT) != 0
}

/// A page that was allocated for the hypervisor. Dropping it frees the page.
///
/// # Invariants
///
/// It owns the page.
struct OwnPage(NonNull<bindings::page>);

// SAFETY: A page does not belong to a thread.
unsafe impl Send for OwnPage {}

impl OwnPage {
    fn number(&self) -> u64 {
        // SAFETY: The function only computes, and by the type invariant the page is valid.
        unsafe { bindings::page_to_pfn(self.0.as_ptr()) as u64 }
    }
}

impl Drop for OwnPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the page is owned. It was allocated as a page of order 0,
        // or made one by `split_page`.
        unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
    }
}

/// Pages on offer to the hypervisor, at least one. Dropping it gives them back to the kernel.
///
/// They are accounted to nobody, as they stay with the hypervisor when the caller is gone.
pub struct Offer {
    /// The pages come first, and [`None`] after them.
    pages: [Option<OwnPage>; DEPOSIT_MAX],
}

impl Offer {
    /// Allocates up to `wanted` pages, but not more than [`DEPOSIT_MAX`]; fewer if memory is short.
    ///
    /// Context: may sleep if `flags` say so. Not NMI.
    ///
    /// # Errors
    ///
    /// There is no page.
    pub fn pages(wanted: usize, flags: Flags) -> Result<Offer, AllocError> {
        let mut offer = Offer {
            pages: [const { None }; DEPOSIT_MAX],
        };
        for (index, place) in offer.pages.iter_mut().take(wanted.max(1)).enumerate() {
            match Offer::allocate(0, flags) {
                // INVARIANT: The page was just allocated, and nobody else has it.
                Ok(page) => *place = Some(OwnPage(page)),
                Err(_) if index > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(offer)
    }

    /// Allocates [`BLOCK_PAGES`] pages that follow one another.
    ///
    /// Context: may sleep if `flags` say so. Not NMI.
    ///
    /// # Errors
    ///
    /// There is no such block.
    pub fn block(flags: Flags) -> Result<Offer, AllocError> {
        let first = Offer::allocate(BLOCK_ORDER, flags)?;
        // SAFETY: The block was just allocated with this order, and is no compound page.
        unsafe { bindings::split_page(first.as_ptr(), BLOCK_ORDER) };
        let mut offer = Offer {
            pages: [const { None }; DEPOSIT_MAX],
        };
        for (index, place) in offer.pages.iter_mut().take(BLOCK_PAGES).enumerate() {
            // SAFETY: `index` is lower than the number of pages in the block. The structures of a
            // block's pages follow one another.
            let page = unsafe { first.add(index) };
            // INVARIANT: After `split_page`, each page of the block is one of its own. Nobody else
            // has it.
            *place = Some(OwnPage(page));
        }
        Ok(offer)
    }

    /// Allocates pages that follow one another. The flags lose what does not suit: to account the
    /// pages, to warn, and to make one compound page of them.
    fn allocate(order: u32, flags: Flags) -> Result<NonNull<bindings::page>, AllocError> {
        let accounted = GFP_KERNEL_ACCOUNT & !GFP_KERNEL;
        let compound = Flags::from_raw(1 << bindings::___GFP_COMP_BIT);
        let flags = (flags & !accounted & !compound) | __GFP_NOWARN;
        // SAFETY: The function takes any flags and this order.
        let page = unsafe { bindings::alloc_pages(flags.as_raw(), order) };
        NonNull::new(page).ok_or(AllocError)
    }

    /// The numbers of the pages.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().flatten().map(OwnPage::number)
    }

    /// Gives the pages to the hypervisor, for the use of this partition. Returns how many it took,
    /// at least one. The others go back to the kernel, unless the answer leaves open whether the
    /// hypervisor will still take them: then all pages are lost to the kernel.
    ///
    /// Context: any but NMI; interrupts are off while the hypervisor works.
    ///
    /// # Errors
    ///
    /// The hypervisor took no page, as far as it said.
    pub fn deposit(mut self) -> Result<usize, HypercallError> {
        let mut numbers = [0; DEPOSIT_MAX];
        let mut offered = 0;
        for (place, number) in numbers.iter_mut().zip(self.numbers()) {
            *place = number;
            offered += 1;
        }
        let own = bindings::HV_PVIOMMU_PARTITION_SELF as u64;
        let numbers = numbers.get(..offered).unwrap_or(&[]);
        let progress = list_call::make::<DepositMemory>(&own, numbers);
        // The hypervisor has these pages now, or may have them later. The others are freed.
        for page in self.pages.iter_mut().take(lost(progress, offered)) {
            let _ = page.take().map(ManuallyDrop::new);
        }
        match progress.result {
            Err(failure) if progress.done == 0 => Err(failure),
            _ => Ok(progress.done),
        }
    }
}

/// How many of the pages that were offered the kernel must not use again, from the first one on.
fn lost(progress: Progress, offered: usize) -> usize {
    match progress.result {
        Err(failure) if leaves_open(failure) => offered,
        _ => progress.done,
    }
}

/// Whether the hypervisor may still carry out a call that failed.
fn leaves_open(failure: HypercallError) -> bool {
    match failure {
        HypercallError::Status(status) => {
            matches!(status, Status::TIME_OUT | Status::CALL_PENDING)
        }
        HypercallError::Unavailable => false,
        HypercallError::NoProgress => true,
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_memory)]
mod tests {
    use super::*;

    fn rest_after(result: Result<(), HypercallError>) -> Rest {
        Rest::after(Progress { done: 1, result })
    }

    #[test]
    fn a_status_says_what_memory_is_wanted() {
        let wanted = |status| HypercallError::Status(status).wanted_memory();
        for status in [
            Status::INSUFFICIENT_MEMORY,
            Status::INSUFFICIENT_ROOT_MEMORY,
        ] {
            assert!(wanted(status) == Some(Wanted::Pages));
        }
        for status in [
            Status::INSUFFICIENT_CONTIGUOUS_MEMORY,
            Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY,
        ] {
            assert!(wanted(status) == Some(Wanted::Block));
        }
        assert!(wanted(Status::NO_RESOURCES).is_none());
        assert!(HypercallError::Unavailable.wanted_memory().is_none());
        assert!(HypercallError::NoProgress.wanted_memory().is_none());
    }

    #[test]
    fn pages_that_may_still_be_taken_are_lost() {
        let after = |done, result| lost(Progress { done, result }, 32);
        let failed = |done, status| after(done, Err(HypercallError::Status(status)));
        assert_eq!(after(32, Ok(())), 32);
        assert_eq!(after(3, Ok(())), 3);
        assert_eq!(failed(0, Status::ACCESS_DENIED), 0);
        assert_eq!(failed(3, Status::INSUFFICIENT_MEMORY), 3);
        assert_eq!(after(0, Err(HypercallError::Unavailable)), 0);
        for status in [Status::TIME_OUT, Status::CALL_PENDING] {
            assert_eq!(failed(0, status), 32);
            assert_eq!(failed(3, status), 32);
        }
        assert_eq!(after(0, Err(HypercallError::NoProgress)), 32);
    }

    #[test]
    fn the_pages_of_a_block_follow_one_another() -> Result {
        let block = Offer::block(GFP_KERNEL)?;
        let first = block.numbers().next().ok_or(EINVAL)?;
        assert!(block.numbers().eq(first..first + BLOCK_PAGES as u64));
        // The pages of no other offer are among them.
        let pages = Offer::pages(DEPOSIT_MAX + 1, GFP_KERNEL)?;
        assert_eq!(pages.numbers().count(), DEPOSIT_MAX);
        assert!(pages
            .numbers()
            .all(|number| block.numbers().all(|other| other != number)));
        assert_eq!(Offer::pages(3, GFP_KERNEL)?.numbers().count(), 3);
        Ok(())
    }

    #[test]
    fn flags_say_whether_an_allocation_may_sleep() {
        assert!(may_sleep(GFP_KERNEL) && may_sleep(GFP_KERNEL_ACCOUNT));
        assert!(!may_sleep(GFP_ATOMIC) && !may_sleep(GFP_NOWAIT));
    }

    #[test]
    fn the_end_is_told_from_a_failure() {
        let failed = |status| rest_after(Err(HypercallError::Status(status)));
        assert!(rest_after(Ok(())) == Rest::More);
        assert!(failed(Status::NO_RESOURCES) == Rest::Nothing);
        // A success without a page must not be repeated for ever.
        assert!(rest_after(Err(HypercallError::NoProgress)) == Rest::Nothing);
        let denied = HypercallError::Status(Status::ACCESS_DENIED);
        assert!(failed(Status::ACCESS_DENIED) == Rest::Unknown(denied));
        let unavailable = HypercallError::Unavailable;
        assert!(rest_after(Err(unavailable)) == Rest::Unknown(unavailable));
    }
}
