// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings, as the IOMMU core knows them.

use super::{
    attach::{
        Attachments,
        Place, //
    },
    domain::Shared,
    driver::VirtioIommu, //
};
use kernel::{
    alloc::Flags,
    io::PhysAddr,
    iommu::{
        self,
        domain::{
            Config,
            Mapped,
            Mapping,
            NewDomain,
            PagingDomain,
            SelfMapped,
            Unmapping, //
        },
        gather::Gather,
        probed::AttachTarget,
        Iova,
    },
    prelude::*,
    sync::Arc, //
};

/// A domain with mappings, as the IOMMU core holds it.
pub(super) struct Domain {
    shared: Arc<Shared>,
    attachments: Arc<Attachments>,
}

impl Domain {
    /// Allocates a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more domains.
    pub(super) fn allocate(attachments: &Arc<Attachments>) -> Result<NewDomain<VirtioIommu>> {
        let iommu = attachments.iommu();
        let config = Config {
            aperture: iommu.report.aperture.clone(),
            page_sizes: iommu.report.page_sizes as usize,
        };
        let domain = Domain {
            shared: Shared::new(iommu)?,
            attachments: attachments.clone(),
        };
        SelfMapped::allocate(config, domain)
    }
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = VirtioIommu;

    fn attach(&self, target: &AttachTarget<'_, VirtioIommu>) -> Result {
        if !Arc::ptr_eq(&self.attachments, target.instance()) {
            return Err(EINVAL);
        }
        let place = Place::Mapped(self.shared.clone());
        self.attachments
            .put(target.endpoint(), place, target.demand())
    }

    fn flush_all(&self) {
        self.shared.settle();
    }
}

#[vtable]
impl PagingDomain for Domain {
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped {
        match self.shared.map(mapping, flags) {
            Ok(bytes) => Mapped {
                bytes,
                result: Ok(()),
            },
            Err(error) => Mapped {
                bytes: 0,
                result: Err(error),
            },
        }
    }

    fn sync_map(&self, first: Iova, bytes: usize) -> Result {
        self.shared.sync_map(first, bytes)
    }

    fn unmap(&self, unmapping: &Unmapping<'_>, _gather: &mut Gather) -> usize {
        self.shared.unmap(unmapping).unwrap_or(0)
    }

    fn flush(&self, _gather: &Gather) {
        self.shared.settle();
    }

    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        self.shared.find(iova)
    }

    fn release(&self) {
        self.attachments.evict(&self.shared);
        // Unless the domain keeps its number, no endpoint is in it now, so the device has forgotten
        // it. All requests about it must be answered before another domain gets its number.
        self.shared.settle();
    }
}
