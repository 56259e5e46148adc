// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain. Both always exist, and are never created or deleted.

use super::{
    domain_name::DomainName,
    driver::RootIommu,
    endpoint::{
        self,
        Endpoint, //
    },
    places::Holder, //
};
use kernel::{
    iommu::{
        domain::{
            StaticDomain,
            StaticDomainOps,
            StaticKind, //
        },
        probed::AttachTarget, //
    },
    prelude::*,
};

/// The domain in which DMA addresses are the partition's physical addresses. Programs do not get
/// it.
pub(crate) struct Identity;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = RootIommu;

    const KIND: StaticKind = StaticKind::Identity;

    fn attach(target: &AttachTarget<'_, RootIommu>) -> Result {
        Endpoint::attach(target, DomainName::IDENTITY, Holder::Kernel, || true)
    }
}

/// The domain that lets no DMA through.
pub(crate) struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = RootIommu;

    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(target: &AttachTarget<'_, RootIommu>) -> Result {
        let holder = endpoint::holder(target);
        target.endpoint().block(target.instance(), holder)
    }
}

pub(crate) static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub(crate) static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
