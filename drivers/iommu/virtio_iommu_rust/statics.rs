// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain.

use super::{
    attach::Place,
    driver::VirtioIommu, //
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

/// The domain in which DMA addresses are physical addresses. Not every IOMMU has it.
pub(crate) struct Identity;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = VirtioIommu;

    const KIND: StaticKind = StaticKind::Identity;

    fn attach(target: &AttachTarget<'_, VirtioIommu>) -> Result {
        let demand = target.demand();
        target
            .instance()
            .put(target.endpoint(), Place::Identity, demand)
    }
}

/// The domain that lets no DMA through.
pub(crate) struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = VirtioIommu;

    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(target: &AttachTarget<'_, VirtioIommu>) -> Result {
        let demand = target.demand();
        target
            .instance()
            .put(target.endpoint(), Place::Blocking, demand)
    }
}

pub(crate) static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub(crate) static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
