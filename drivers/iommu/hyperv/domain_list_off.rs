// SPDX-License-Identifier: GPL-2.0

//! In place of `domain_list.rs` in a kernel without `CONFIG_IOMMU_DEBUGFS`: nothing is kept, and
//! nothing is counted.

use super::{
    aperture::Levels,
    domain_ids::DomainId, //
};
use kernel::prelude::*;

pub(crate) struct DomainList;

impl DomainList {
    pub(crate) fn new() -> impl PinInit<Self> {
        DomainList
    }
}

pub(crate) struct Unlisted;

impl Unlisted {
    pub(crate) fn new(_root: u64, _levels: Levels) -> Result<Unlisted> {
        Ok(Unlisted)
    }

    pub(crate) fn enter(self, _list: &DomainList, _id: DomainId) -> Listed {
        Listed
    }
}

pub(crate) struct Listed;

impl Listed {
    #[inline]
    pub(crate) fn count_list(&self, _descriptors: usize) {}

    #[inline]
    pub(crate) fn count_whole(&self) {}

    pub(crate) fn count_failure(&self) {}

    pub(crate) fn leave(self, _list: &DomainList, _id: DomainId) {}

    pub(crate) fn retire(self) {}
}
