// SPDX-License-Identifier: GPL-2.0
//! Event counts since boot.

use alloc::boxed::Box;
use alloc::vec;

use crate::hypercall::codes::CallCode;
use crate::status::Status;

/// Calls with a higher code are not counted one by one; the interface has none.
const CODES: usize = 0x400;
/// Statuses with a higher number are not counted one by one; the interface has none.
const STATUSES: usize = 0x100;

/// The counts. They never wrap.
pub struct Counters {
    calls: Box<[u64]>,
    statuses: Box<[u64]>,
    logged_unknown: Box<[u64]>,
    /// Descriptors processed by list flushes.
    pub flush_descriptors: u64,
    /// 4-KiB pages that list flushes covered.
    pub flush_pages: u64,
    /// DMA faults taken from the platform.
    pub dma_faults: u64,
    /// Calls that a fault-injection rule answered.
    pub injected: u64,
    /// Protocol violations of the guest.
    pub violations: u64,
    /// Attach calls that changed a device's translation.
    pub switches: u64,
    /// Devices whose DMA the guest had not blocked when it dropped its VMBus connection.
    pub abandoned: u64,
    /// Invalidations of devices' own TLBs that flushes implied.
    pub device_tlb_flushes: u64,
    /// 4-KiB pages that they covered.
    pub device_tlb_pages: u64,
}

/// Whether something happens for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// It does.
    First,
    /// It happened before.
    Repeated,
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Counters {
            calls: vec![0; CODES].into_boxed_slice(),
            statuses: vec![0; STATUSES].into_boxed_slice(),
            logged_unknown: vec![0; (1 << 16) / 64].into_boxed_slice(),
            flush_descriptors: 0,
            flush_pages: 0,
            dma_faults: 0,
            injected: 0,
            violations: 0,
            switches: 0,
            abandoned: 0,
            device_tlb_flushes: 0,
            device_tlb_pages: 0,
        }
    }

    /// Counts a call.
    pub fn add_call(&mut self, code: CallCode) {
        bump(self.calls.get_mut(usize::from(code.0)));
    }

    /// Counts the status of an IOMMU call.
    pub fn add_status(&mut self, status: Status) {
        bump(self.statuses.get_mut(usize::from(status.0)));
    }

    /// Adds to one of the open counts.
    pub fn add(count: &mut u64, amount: u64) {
        *count = count.saturating_add(amount);
    }

    /// Notes a call that is not offered.
    pub fn note_unknown(&mut self, code: CallCode) -> Occurrence {
        let bit = 1 << (code.0 % 64);
        match self.logged_unknown.get_mut(usize::from(code.0 / 64)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Occurrence::First
            }
            _ => Occurrence::Repeated,
        }
    }

    /// Calls with this code; `None` for a code above the range that is counted (0..=0x3ff).
    pub fn calls(&self, code: u32) -> Option<u64> {
        self.calls.get(usize::try_from(code).ok()?).copied()
    }

    /// IOMMU calls that ended with this status; `None` for one above the range that is counted (0..=0xff).
    pub fn statuses(&self, status: u32) -> Option<u64> {
        self.statuses.get(usize::try_from(status).ok()?).copied()
    }

    /// Every call code with its count, where that is not 0.
    pub fn nonzero_calls(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        nonzero(&self.calls)
    }

    /// Every status with its count, where that is not 0.
    pub fn nonzero_statuses(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        nonzero(&self.statuses)
    }
}

impl Default for Counters {
    fn default() -> Self {
        Counters::new()
    }
}

fn bump(count: Option<&mut u64>) {
    if let Some(count) = count {
        Counters::add(count, 1);
    }
}

fn nonzero(counts: &[u64]) -> impl Iterator<Item = (usize, u64)> + '_ {
    counts.iter().copied().enumerate().filter(|&(_, count)| count != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bounds() {
        let mut counters = Counters::new();
        counters.add_call(CallCode(0xd1));
        counters.add_call(CallCode(0xd1));
        counters.add_call(CallCode(0xffff));
        counters.add_status(Status(0x66));
        counters.add_status(Status(0xffff));
        assert_eq!(counters.calls(0xd1), Some(2));
        assert_eq!(counters.calls(0xd0), Some(0));
        assert_eq!((counters.calls(0x400), counters.statuses(0x100)), (None, None));
        assert_eq!(counters.nonzero_calls().collect::<Vec<_>>(), [(0xd1, 2)]);
        assert_eq!(counters.nonzero_statuses().collect::<Vec<_>>(), [(0x66, 1)]);
    }

    #[test]
    fn counts_saturate() {
        let mut count = u64::MAX - 1;
        Counters::add(&mut count, 5);
        assert_eq!(count, u64::MAX);
    }

    #[test]
    fn each_unknown_code_is_first_once() {
        let mut counters = Counters::new();
        for code in [0, 63, 64, 0x8001, 0xffff] {
            assert_eq!(counters.note_unknown(CallCode(code)), Occurrence::First);
            assert_eq!(counters.note_unknown(CallCode(code)), Occurrence::Repeated);
        }
    }
}
