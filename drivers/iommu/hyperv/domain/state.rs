// SPDX-License-Identifier: GPL-2.0

//! What is kept for a paging domain.

use crate::{
    host::{
        domain_ids::DomainId,
        layouts::FlushDeviceDomain, //
    },
    instance::Instance,
    known::list::Listed, //
};
use kernel::{
    hyperv::fixed_call::FixedCall,
    sync::atomic::AtomicFlag, //
};

/// What the driver keeps for a paging domain. The page table itself is in the kernel's `Paging`.
pub(crate) struct Domain {
    pub(super) instance: &'static Instance,
    pub(super) id: DomainId,
    /// The prepared flush of the whole domain.
    pub(super) whole: FixedCall<FlushDeviceDomain>,
    pub(super) listed: Listed,
    /// A device that may use ATS was attached at some time. This decides what a flush costs, not
    /// what it must do.
    pub(super) has_device_tlbs: AtomicFlag,
    /// The domain was given up, and each of its devices was seen to be blocked: another flush that
    /// fails has nothing to do.
    pub(super) emptied: AtomicFlag,
}
