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
    device,
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
            Probed, //
        },
        resv::ReservedRegions, //
    },
    prelude::*,
    sync::Arc, //
};

/// The driver's operations. A device that goes is blocked in `release_device`, which knows what
/// other devices have the same name.
pub(crate) static OPS: Ops<RootIommu> = Ops::new()
    .with_identity(&IDENTITY)
    .with_blocking_unless_released(&BLOCKING);

#[vtable]
impl Driver for RootIommu {
    type Instance = &'static Instance;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::Pci;

    fn capable(_: &Probed<'_, RootIommu>, capability: Capability) -> bool {
        // DMA on x86 is coherent; and what is unmapped may be used for something else later as well
        // as at once.
        matches!(
            capability,
            Capability::CACHE_COHERENCY | Capability::DEFERRED_FLUSH
        )
    }

    fn probe_device(instance: &&'static Instance, dev: &device::Device) -> Result<Arc<Endpoint>> {
        Endpoint::new(instance, dev)
    }

    fn release_device(target: &AttachTarget<'_, RootIommu>) {
        target.endpoint().release(target.instance());
    }

    fn default_domain(_: &Probed<'_, RootIommu>) -> DefaultDomain {
        if readings::follows_a_crash() {
            // Only a device in a translating domain can stay as it is until it is used.
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
