// SPDX-License-Identifier: GPL-2.0

//! In place of `domain_list.rs` in a kernel with neither `CONFIG_IOMMU_DEBUGFS` nor
//! `CONFIG_HIBERNATION`: nothing is kept.

use super::{
    aperture::Levels,
    domain_ids::DomainId,
    flush_counters::FlushCounters, //
};
use kernel::prelude::*;

pub(crate) struct DomainList;

impl DomainList {
    pub(crate) fn new() -> impl PinInit<Self> {
        DomainList
    }
}

pub(crate) struct Unlisted(FlushCounters);

impl Unlisted {
    pub(crate) fn new(_root: u64, _levels: Levels) -> Result<Unlisted> {
        FlushCounters::new().map(Unlisted)
    }

    pub(crate) fn enter(self, _list: &DomainList, _id: DomainId) -> Listed {
        Listed(self.0)
    }
}

pub(crate) struct Listed(FlushCounters);

impl Listed {
    #[inline(always)]
    pub(crate) fn counters(&self) -> &FlushCounters {
        &self.0
    }

    pub(crate) fn leave(self, _list: &DomainList, _id: DomainId) {}

    pub(crate) fn retire(self) {}
}
