// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain.

use super::driver::Mock;
use kernel::{
    iommu::{
        domain::{
            DomainKind,
            Pasid,
            StaticDomain,
            StaticDomainOps,
            StaticKind, //
        },
        probed::AttachTarget, //
    },
    prelude::*, //
};

/// The domain in which DMA addresses are physical addresses.
pub(crate) struct Identity;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = Mock;

    const KIND: StaticKind = StaticKind::Identity;

    fn attach(target: &AttachTarget<'_, Mock>) -> Result {
        target.instance().counters.attaches.count();
        Ok(())
    }
}

/// The domain that lets no DMA through.
pub(crate) struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = Mock;

    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(target: &AttachTarget<'_, Mock>) -> Result {
        target.instance().counters.attaches.count();
        Ok(())
    }

    fn set_pasid(target: &AttachTarget<'_, Mock>, _pasid: Pasid) -> Result {
        // This is how the core takes a PASID out of its former domain.
        if target
            .old()
            .is_some_and(|old| old.kind() == DomainKind::Paging)
        {
            target.instance().counters.pasids.discount();
        }
        Ok(())
    }
}

pub(crate) static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub(crate) static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
