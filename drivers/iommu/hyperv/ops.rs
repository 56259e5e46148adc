// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core calls.

use super::{
    endpoint::{
        Admission,
        Endpoint, //
    },
    instance::Instance,
    paging::Domain,
    readings,
    statics::{
        BLOCKING,
        IDENTITY, //
    },
};
use kernel::{
    device,
    iommu::{
        self,
        ats::Ats,
        bus_master,
        device::IommuDevice,
        domain::NewDomain,
        ops::{
            AttachTarget,
            Capability,
            DefaultDomain,
            Driver,
            FirstAttach,
            Grouping,
            Ops,
            Probed, //
        },
        resv::{
            ReservedKind,
            ReservedRegions, //
        },
        Iova,
    },
    prelude::*,
    syscore::{
        Registration,
        Shutdown, //
    },
};

/// Where message-signalled interrupts go on x86; never translated.
const MSI_WINDOW: Iova = Iova::new(0xfee0_0000);
/// Its length in bytes.
const MSI_WINDOW_BYTES: usize = 0x10_0000;

/// The driver.
pub(crate) struct PvIommu;

impl Shutdown for PvIommu {
    fn shutdown() {
        if let Ok(instance) = Instance::get() {
            instance.shut_down();
        }
    }
}

/// The one IOMMU of the partition, as the core knows it.
pub(crate) static DEVICE: IommuDevice<PvIommu> = IommuDevice::new();
/// What happens at shutdown.
pub(crate) static SHUTDOWN: Registration<PvIommu> = Registration::new();
/// The driver's operations.
pub(crate) static OPS: Ops<PvIommu> = Ops::new(&IDENTITY, &BLOCKING);

/// Whether the device stays where another kernel has left it, until a driver uses it.
///
/// That kernel has crashed. Its device may be in the middle of a transfer, which a change of domains
/// would abort; some devices do not survive that. The transfer goes to the crashed kernel's memory. A
/// device that does not master the bus has none under way: it was reset, or is new, and may be in no
/// domain at all.
fn is_deferred(endpoint: &Endpoint) -> bool {
    endpoint.admission() == Admission::Granted
        && readings::follows_a_crash()
        && bus_master::is_on(endpoint.dev())
}

impl Driver for PvIommu {
    type Endpoint = Endpoint;
    type Domain = Domain;

    const GROUPING: Grouping = Grouping::Pci;

    fn capable(endpoint: &Endpoint, capability: Capability) -> bool {
        match capability {
            // All DMA of a Hyper-V guest on x86 is coherent.
            Capability::CacheCoherency => true,
            Capability::PciAts => endpoint.has_ats(),
            Capability::Other => false,
        }
    }

    fn probe_device(dev: &device::Device, ats: Option<Ats>) -> Result<Probed<PvIommu>> {
        let instance = Instance::get()?;
        let endpoint = Endpoint::new(instance, dev, ats)?;
        let probed = Probed {
            iommu: &DEVICE,
            endpoint: endpoint.clone_arc(),
        };
        instance.add_endpoint(endpoint);
        Ok(probed)
    }

    fn release_device(target: &AttachTarget<'_, PvIommu>) {
        if let Ok(instance) = Instance::get() {
            instance.release_endpoint(target.endpoint());
        }
    }

    fn default_domain(endpoint: &Endpoint) -> DefaultDomain {
        let lacks_identity = || Instance::get().is_ok_and(|it| it.want_identity().is_none());
        match endpoint.admission() {
            // Only a device in a translating domain can stay as it is until it is used.
            Admission::Granted if readings::follows_a_crash() => DefaultDomain::Translating,
            // Identity is what the system wants, and there is none.
            Admission::Granted if iommu::default_is_identity() && lacks_identity() => {
                DefaultDomain::Translating
            }
            Admission::Granted => DefaultDomain::Any,
            // One that `alloc_domain` can refuse.
            Admission::Unknown => DefaultDomain::Translating,
        }
    }

    fn first_attach(endpoint: &Endpoint) -> FirstAttach {
        if is_deferred(endpoint) {
            FirstAttach::WhenUsed
        } else {
            FirstAttach::AtOnce
        }
    }

    fn reserved_regions(_dev: &device::Device, regions: &mut ReservedRegions) -> Result {
        regions.add(MSI_WINDOW, MSI_WINDOW_BYTES, ReservedKind::Msi)
    }

    fn alloc_domain(dev: &device::Device, endpoint: &Endpoint) -> Result<NewDomain<Domain>> {
        match endpoint.admission() {
            Admission::Granted => Domain::allocate(dev),
            // The core blocks the device then, and lets go of it.
            Admission::Unknown => Err(ENODEV),
        }
    }
}
