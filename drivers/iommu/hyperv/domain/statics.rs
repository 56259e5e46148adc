// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain.

use crate::{
    device::endpoint::TranslatedRequests,
    driver::PvIommu, //
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

/// The domain in which DMA addresses are guest physical addresses.
pub(crate) struct Identity;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = PvIommu;

    const KIND: StaticKind = StaticKind::Identity;

    #[inline]
    fn attach(target: &AttachTarget<'_, PvIommu>) -> Result {
        let domains = target.instance().domains();
        // When it could not be made at first, there was a message.
        let identity = domains.want_identity().ok_or(ENODEV)?;
        target.endpoint().attach(
            identity,
            TranslatedRequests::Forbidden,
            target.demand(),
            None,
            domains,
        )
    }
}

/// The domain that lets no DMA through.
pub(crate) struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = PvIommu;

    const KIND: StaticKind = StaticKind::Blocking;

    #[inline]
    fn attach(target: &AttachTarget<'_, PvIommu>) -> Result {
        target.endpoint().block(target.instance().domains())
    }
}

pub(crate) static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub(crate) static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
