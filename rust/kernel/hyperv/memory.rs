// SPDX-License-Identifier: GPL-2.0

//! Pages that the partition gives to the hypervisor.
//!
//! Some partitions pay for the hypervisor's work with memory of their own: those that create
//! partitions, and those for which the hypervisor keeps tables. If the hypervisor lacks memory, a
//! call fails with a status for which [`Status::wants_memory`] holds. The partition then deposits
//! pages and calls again. The partition must not touch a page while the hypervisor has it.
//!
//! The C side has `hv_call_deposit_pages()`, which sleeps. Here the caller says how memory is
//! allocated, and learns what the hypervisor has answered.

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
use core::mem::ManuallyDrop;

/// How many pages one [`deposit`] gives at most.
pub const DEPOSIT_MAX: usize = 32;

impl Status {
    /// Whether a call failed because the hypervisor has no memory left for the calling partition.
    ///
    /// Statuses that ask for contiguous memory do not count, as depositing single pages does not
    /// help.
    pub fn wants_memory(self) -> bool {
        matches!(
            self,
            Status::INSUFFICIENT_MEMORY | Status::INSUFFICIENT_ROOT_MEMORY
        )
    }
}

impl HypercallError {
    /// As [`Status::wants_memory`].
    pub fn wants_memory(self) -> bool {
        matches!(self, HypercallError::Status(status) if status.wants_memory())
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
// numbers. All are integers.
unsafe impl ListCall for DepositMemory {
    const CODE: u16 = bindings::HVCALL_DEPOSIT_MEMORY as u16;
    const NAME: &'static str = "HVCALL_DEPOSIT_MEMORY";
    type Header = u64;
    type Element = u64;
}

struct WithdrawMemory;

// SAFETY: By `struct hv_input_withdraw_memory` and `hv_output_withdraw_memory`, this is the call's
// input, packed and made of integers, and the output consists of page numbers.
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

/// Takes back pages that this partition has deposited, by [`deposit`] or otherwise. The hypervisor
/// keeps the pages that it uses.
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

/// Gives up to `wanted` pages to the hypervisor for the use of this partition, but not more than
/// [`DEPOSIT_MAX`]. Gives fewer if memory is short. Returns how many the hypervisor took, at least
/// one.
///
/// The pages are allocated as `flags` say, before interrupts go off for the call. They are
/// accounted to nobody, as they stay with the hypervisor when the caller is gone.
///
/// Context: may sleep if `flags` say so; interrupts may be off otherwise. Not NMI.
///
/// # Errors
///
/// [`DepositError`]. The kernel has all its pages then.
pub fn deposit(wanted: usize, flags: Flags) -> Result<usize, DepositError> {
    let accounted = GFP_KERNEL_ACCOUNT & !GFP_KERNEL;
    let flags = (flags & !accounted) | __GFP_NOWARN;
    let mut pages = [const { None }; DEPOSIT_MAX];
    let mut numbers = [0; DEPOSIT_MAX];
    let mut count = 0;
    let places = pages.iter_mut().zip(&mut numbers);
    for (place, number) in places.take(wanted.max(1)) {
        let page = match Page::alloc_page(flags) {
            Ok(page) => page,
            Err(_) if count > 0 => break,
            Err(error) => return Err(DepositError::Memory(error)),
        };
        // SAFETY: The function only computes, and the page is valid.
        *number = unsafe { bindings::page_to_pfn(page.as_ptr()) } as u64;
        *place = Some(page);
        count += 1;
    }
    let own = bindings::HV_PVIOMMU_PARTITION_SELF as u64;
    let numbers = numbers.get(..count).unwrap_or(&[]);
    let progress = list_call::make::<DepositMemory>(&own, numbers);
    // The hypervisor has these pages now. The others are freed.
    for page in pages.iter_mut().take(progress.done) {
        let _ = page.take().map(ManuallyDrop::new);
    }
    match progress.result {
        Err(failure) if progress.done == 0 => Err(DepositError::Refused(failure)),
        _ => Ok(progress.done),
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_memory)]
mod tests {
    use super::*;

    fn rest_after(result: Result<(), HypercallError>) -> Rest {
        Rest::after(Progress { done: 1, result })
    }

    #[test]
    fn memory_is_wanted_where_single_pages_help() {
        let wants = |status| HypercallError::Status(status).wants_memory();
        assert!(wants(Status::INSUFFICIENT_MEMORY));
        assert!(wants(Status::INSUFFICIENT_ROOT_MEMORY));
        assert!(!wants(Status::INSUFFICIENT_CONTIGUOUS_MEMORY));
        assert!(!wants(Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY));
        assert!(!wants(Status::NO_RESOURCES));
        assert!(!HypercallError::Unavailable.wants_memory());
        assert!(!HypercallError::NoProgress.wants_memory());
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
