// SPDX-License-Identifier: GPL-2.0

//! In place of `counters.rs` in a kernel without `CONFIG_IOMMU_DEBUGFS`: nothing is counted.

use kernel::prelude::*;

pub(crate) struct FlushCounters;

impl FlushCounters {
    pub(crate) fn new() -> Result<FlushCounters> {
        Ok(FlushCounters)
    }

    #[inline]
    pub(crate) fn count_list(&self, _descriptors: usize) {}

    #[inline]
    pub(crate) fn count_whole(&self) {}

    #[inline]
    pub(crate) fn count_failure(&self) {}
}
