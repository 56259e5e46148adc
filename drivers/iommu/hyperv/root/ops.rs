// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core calls.

use super::{
    domain::Domain,
    driver::RootIommu,
    endpoint::Endpoint,
    instance::Instance,
    readings,
    statics::{
        BLOCKING,
        IDENTITY, //
    },
};
use kernel::{
    iommu::{
        domain::NewDomain,
        driver::{
            Capability,
            DefaultDomain,
            Driver,
            FirstAttach,
            Grouping, //
        },
        ops::Ops,
        probed::{
            AttachTarget,
            Probed,
            Probing, //
        },
        resv::ReservedRegions, //
    },
    prelude::*,
    sync::Arc, //
};

/// The driver's operations. The core does not put a device into the blocking domain before it is
/// released: only `release_device` knows whether other devices have the same ids.
pub(crate) static OPS: Ops<RootIommu> = Ops::new()
    .with_identity(&IDENTITY)
    .with_blocking_unless_released(&BLOCKING);

#[vtable]
impl Driver for RootIommu {
    type Instance = &'static Instance;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::Pci;

    fn capable(_: &Probed<'_, RootIommu>, capability: Capability) -> bool {
        // All DMA on x86 is coherent. An unmap call takes effect at once, so it does no harm if
        // memory is freed later.
        matches!(
            capability,
            Capability::CACHE_COHERENCY | Capability::DEFERRED_FLUSH
        )
    }

    fn probe_device(instance: &&'static Instance, device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        Endpoint::new(instance, device)
    }

    fn release_device(target: &AttachTarget<'_, RootIommu>) {
        target.endpoint().release(target.instance());
    }

    fn default_domain(_: &Probed<'_, RootIommu>) -> DefaultDomain {
        if readings::follows_a_crash() {
            // A device can stay where the crashed kernel left it only if its domain translates.
            DefaultDomain::Translating
        } else {
            DefaultDomain::Any
        }
    }

    fn first_attach(device: &Probed<'_, RootIommu>) -> FirstAttach {
        if readings::stays_until_used(device.endpoint().pdev()) {
            FirstAttach::WhenUsed
        } else {
            FirstAttach::AtOnce
        }
    }

    fn reserved_regions(_: &Probed<'_, RootIommu>, regions: &mut ReservedRegions) -> Result {
        readings::reserve_interrupts(regions)
    }

    fn alloc_domain(device: &Probed<'_, RootIommu>) -> Result<NewDomain<RootIommu>> {
        Domain::allocate(device.instance())
    }
}
