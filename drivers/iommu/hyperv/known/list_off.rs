// SPDX-License-Identifier: GPL-2.0

//! In place of `list.rs` in a kernel with neither `CONFIG_IOMMU_DEBUGFS` nor
//! `CONFIG_HIBERNATION`: nothing is kept.

use super::counters::FlushCounters;
use crate::host::{
    aperture::Levels,
    domain_ids::DomainId, //
};
use kernel::{
    prelude::*,
    sync::atomic::AtomicFlag, //
};

pub(crate) struct DomainList;

impl DomainList {
    pub(crate) fn new() -> impl PinInit<Self> {
        DomainList
    }
}

pub(crate) struct Unlisted(Listed);

impl Unlisted {
    pub(crate) fn new(_root: u64, _levels: Levels) -> Result<Unlisted> {
        Ok(Unlisted(Listed {
            counters: FlushCounters::new()?,
            stale: AtomicFlag::new(false),
        }))
    }

    pub(crate) fn enter(self, _list: &DomainList, _id: DomainId) -> Listed {
        self.0
    }
}

pub(crate) struct Listed {
    counters: FlushCounters,
    stale: AtomicFlag,
}

impl Listed {
    #[inline(always)]
    pub(crate) fn counters(&self) -> &FlushCounters {
        &self.counters
    }

    pub(crate) fn stale(&self) -> &AtomicFlag {
        &self.stale
    }

    pub(crate) fn leave(&self, _list: &DomainList, _id: DomainId) {}

    pub(crate) fn retire(&self) {}
}
