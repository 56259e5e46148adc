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

/// What the driver keeps for a paging domain; the table is the kernel's.
pub(crate) struct Domain {
    pub(super) instance: &'static Instance,
    pub(super) id: DomainId,
    /// Its flush, prepared.
    pub(super) whole: FixedCall<FlushDeviceDomain>,
    pub(super) listed: Listed,
    /// A device that may have ATS on was attached once: what a flush costs, not what it must do,
    /// depends on that.
    pub(super) has_device_tlbs: AtomicFlag,
    /// After it was closed for a flush that failed, each device was seen to be blocked: nothing is
    /// left to be done.
    pub(super) emptied: AtomicFlag,
}
