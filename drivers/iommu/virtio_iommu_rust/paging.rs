// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings, as the IOMMU core knows them.

use super::{
    attach,
    domain::Shared,
    driver::VirtioIommu,
    endpoint::Place,
    iommu::Iommu, //
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
pub(super) struct Domain(Arc<Shared>);

impl Domain {
    /// Allocates a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more domains.
    pub(super) fn allocate(iommu: &Arc<Iommu>) -> Result<NewDomain<VirtioIommu>> {
        let config = Config {
            aperture: iommu.report.aperture.clone(),
            page_sizes: iommu.report.page_sizes as usize,
        };
        SelfMapped::allocate(config, Domain(Shared::new(iommu)?))
    }
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = VirtioIommu;

    fn attach(&self, target: &AttachTarget<'_, VirtioIommu>) -> Result {
        if !self.0.is_of(target.instance()) {
            return Err(EINVAL);
        }
        attach::put(
            target.instance(),
            target.endpoint(),
            Place::Mapped(self.0.clone()),
        )
    }

    fn flush_all(&self) {
        self.0.settle();
    }
}

#[vtable]
impl PagingDomain for Domain {
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped {
        match self.0.map(mapping, flags) {
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
        self.0.sync_map(first, bytes)
    }

    fn unmap(&self, unmapping: &Unmapping<'_>, _gather: &mut Gather) -> usize {
        self.0.unmap(unmapping).unwrap_or(0)
    }

    fn flush(&self, _gather: &Gather) {
        self.0.settle();
    }

    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        self.0.find(iova)
    }

    fn release(&self) {
        self.0.evict();
        // Unless the domain keeps its number, no endpoint is in it now, so the device has forgotten
        // it. All requests about it must be answered before another domain gets its number.
        self.0.settle();
    }
}
