// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain. Both always exist, and are never created or deleted.

use super::{
    domain_name::DomainName,
    driver::RootIommu, //
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

/// The domain in which DMA addresses are the partition's physical addresses.
pub(crate) struct Identity;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = RootIommu;

    const KIND: StaticKind = StaticKind::Identity;

    fn attach(target: &AttachTarget<'_, RootIommu>) -> Result {
        let instance = target.instance();
        target
            .endpoint()
            .attach(instance, DomainName::IDENTITY, target.demand(), || true)
    }
}

/// The domain that lets no DMA through.
pub(crate) struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = RootIommu;

    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(target: &AttachTarget<'_, RootIommu>) -> Result {
        target.endpoint().block(target.instance(), target.demand())
    }
}

pub(crate) static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub(crate) static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
