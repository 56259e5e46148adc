// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core calls.

use super::{
    device::{
        arrival,
        endpoint::{
            Admission,
            Endpoint, //
        }, //
    },
    domain::{
        paging,
        statics::{
            BLOCKING,
            IDENTITY, //
        }, //
    },
    driver::PvIommu,
    host::readings,
    instance::Instance, //
};
use kernel::{
    iommu::{
        self,
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

/// The driver's operations.
pub(crate) static OPS: Ops<PvIommu> = Ops::new().with_identity(&IDENTITY).with_blocking(&BLOCKING);

#[vtable]
impl Driver for PvIommu {
    type Instance = &'static Instance;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::Pci;

    #[inline]
    fn capable(device: &Probed<'_, PvIommu>, capability: Capability) -> bool {
        match capability {
            // All DMA of a Hyper-V guest on x86 is coherent.
            Capability::CACHE_COHERENCY => true,
            Capability::PCI_ATS_SUPPORTED => device.endpoint().has_ats(),
            _ => false,
        }
    }

    #[inline]
    fn probe_device(instance: &&'static Instance, device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        let ats = instance.offer().ats();
        arrival::enter(device, instance.devices(), instance.domains(), ats)
    }

    #[inline]
    fn release_device(target: &AttachTarget<'_, PvIommu>) {
        let instance = target.instance();
        instance
            .devices()
            .release(target.endpoint(), instance.domains());
    }

    #[inline]
    fn default_domain(device: &Probed<'_, PvIommu>) -> DefaultDomain {
        let lacks_identity = || device.instance().domains().want_identity().is_none();
        match device.endpoint().admission() {
            // A device can stay where the crashed kernel left it only if its domain translates.
            Admission::Granted if readings::follows_a_crash() => DefaultDomain::Translating,
            // The system's default is identity, but the hypervisor has refused that domain.
            Admission::Granted if iommu::default_is_identity() && lacks_identity() => {
                DefaultDomain::Translating
            }
            Admission::Granted => DefaultDomain::Any,
            // The core allocates such a domain, so that `alloc_domain` can refuse it.
            Admission::Unknown => DefaultDomain::Translating,
        }
    }

    #[inline]
    fn first_attach(device: &Probed<'_, PvIommu>) -> FirstAttach {
        let endpoint = device.endpoint();
        let is_granted = endpoint.admission() == Admission::Granted;
        if is_granted && readings::stays_until_used(endpoint.pdev()) {
            FirstAttach::WhenUsed
        } else {
            FirstAttach::AtOnce
        }
    }

    #[inline]
    fn reserved_regions(_: &Probed<'_, PvIommu>, regions: &mut ReservedRegions) -> Result {
        readings::reserve_interrupts(regions)
    }

    #[inline]
    fn alloc_domain(device: &Probed<'_, PvIommu>) -> Result<NewDomain<PvIommu>> {
        match device.endpoint().admission() {
            Admission::Granted => paging::allocate(device.instance(), device.dev()),
            // After this error the core blocks the device and lets go of it.
            Admission::Unknown => Err(ENODEV),
        }
    }
}
