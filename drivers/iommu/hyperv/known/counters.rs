// SPDX-License-Identifier: GPL-2.0

//! Counters of the flushes that a domain has asked for, shown in debugfs.
//!
//! `counters_off.rs` takes this file's place in a kernel without `CONFIG_IOMMU_DEBUGFS`.

use kernel::{
    hyperv::per_cpu::counters::Counters,
    prelude::*, //
};

/// How many flushes were asked of the hypervisor for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Flushes of a list of blocks.
    pub(crate) lists: u64,
    /// The blocks in those lists.
    pub(crate) descriptors: u64,
    /// Flushes of the whole domain.
    pub(crate) wholes: u64,
    /// How many flushes of either kind failed.
    pub(crate) failures: u64,
}

/// Places in [`FlushCounters`]. Most lists have one block; these have a counter of their own, so
/// that one instruction counts them.
const SINGLES: usize = 0;
const LISTS: usize = 1;
const DESCRIPTORS: usize = 2;
const WHOLES: usize = 3;
const FAILURES: usize = 4;

/// The counters of one domain.
pub(crate) struct FlushCounters(Counters<5>);

impl FlushCounters {
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<FlushCounters> {
        Counters::new().map(FlushCounters)
    }

    /// Reads the counters.
    pub(crate) fn counts(&self) -> Counts {
        let singles = self.0.sum::<SINGLES>();
        Counts {
            lists: singles + self.0.sum::<LISTS>(),
            descriptors: singles + self.0.sum::<DESCRIPTORS>(),
            wholes: self.0.sum::<WHOLES>(),
            failures: self.0.sum::<FAILURES>(),
        }
    }

    /// Counts a flush of a list of blocks.
    #[inline(always)]
    pub(crate) fn count_list(&self, descriptors: usize) {
        if descriptors == 1 {
            self.0.add::<SINGLES>(1);
        } else {
            self.0.add::<LISTS>(1);
            self.0.add::<DESCRIPTORS>(descriptors as u64);
        }
    }

    /// Counts a flush of the whole domain.
    #[inline(always)]
    pub(crate) fn count_whole(&self) {
        self.0.add::<WHOLES>(1);
    }

    /// Counts a failure of either kind of flush.
    #[cold]
    pub(crate) fn count_failure(&self) {
        self.0.add::<FAILURES>(1);
    }
}
