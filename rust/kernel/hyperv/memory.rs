// SPDX-License-Identifier: GPL-2.0

//! Pages that the partition gives to the hypervisor.
//!
//! A partition that creates others, or has the hypervisor keep tables for it, pays for that with
//! memory of its own: a call that lacks memory fails with one of [`Status::wants_memory`], the
//! partition deposits pages, and calls again. While the hypervisor has a page, the partition must
//! not touch it.
//!
//! The C side has `hv_call_deposit_pages()`, which sleeps. Here the caller says how memory is
//! allocated, and learns what the hypervisor answered.

use super::{
    list_call::{
        self,
        ListCall, //
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
    /// Whether a call failed because the hypervisor has no memory left for the partition that made
    /// it.
    ///
    /// Those that ask for contiguous memory are not among them: single pages do not help.
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

/// Why no page was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DepositError {
    /// The kernel has no memory.
    Memory(AllocError),
    /// The hypervisor took none.
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

// The type is private: a list of it takes pages away from the kernel.
struct DepositMemory;

// SAFETY: By `struct hv_deposit_memory` these are the call's header, a partition, and elements,
// numbers of pages.
unsafe impl ListCall for DepositMemory {
    const CODE: u16 = bindings::HVCALL_DEPOSIT_MEMORY as u16;
    const NAME: &'static str = "HVCALL_DEPOSIT_MEMORY";
    type Header = u64;
    type Element = u64;
}

/// Gives up to `wanted` pages of memory to the hypervisor, for the use of this partition, but no
/// more than [`DEPOSIT_MAX`]; how many it took, at least one. Fewer are given when memory is short.
///
/// The pages are allocated as `flags` say, before interrupts go off for the call, and accounted to
/// nobody: they stay with the hypervisor when the caller is gone.
///
/// Context: as `flags` say; with interrupts off, perhaps.
///
/// # Errors
///
/// [`DepositError`]; the kernel has all pages then.
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
        // SAFETY: The function only computes; the page is valid.
        *number = unsafe { bindings::page_to_pfn(page.as_ptr()) } as u64;
        *place = Some(page);
        count += 1;
    }
    let own = bindings::HV_PVIOMMU_PARTITION_SELF as u64;
    let progress = list_call::make::<DepositMemory>(&own, count, |index| {
        numbers.get(index).copied().unwrap_or(0)
    });
    // These are the hypervisor's; the others are freed.
    for page in pages.iter_mut().take(progress.done) {
        let _ = page.take().map(ManuallyDrop::new);
    }
    match progress.result {
        Err(failure) if progress.done == 0 => Err(DepositError::Refused(failure)),
        _ => Ok(progress.done),
    }
}
