// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    device_domain::AttachDeviceDomain,
    domain_name::DomainName,
    instance::{
        Instance,
        PutError, //
    },
    places::Holder, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        pci_device::PciDeviceId,
        status::HypercallError, //
    },
    iommu::probed::Demand,
    pci::{
        self,
        bus_master, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// Who has a device that the core moves. Drivers of the kernel's use the group's default domain.
fn holder(demand: Demand) -> Holder {
    match demand {
        Demand::Mandatory => Holder::Kernel,
        Demand::Optional => Holder::Other,
    }
}

/// A device.
pub(crate) struct Endpoint {
    pdev: ARef<pci::Device>,
    /// The names by which the hypervisor knows its DMA, at least one.
    ids: KVec<PciDeviceId>,
}

impl Endpoint {
    /// Takes a device into service. It stays where it is.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it is none of PCI's. [`ENOMEM`]; [`EINVAL`]: the hypervisor has no name for it.
    /// There is a message about the latter two.
    pub(crate) fn new(instance: &Instance, dev: &device::Device) -> Result<Arc<Endpoint>> {
        let pdev = <&pci::Device>::try_from(dev).map_err(|_| ENODEV)?;
        Endpoint::enter(instance, pdev).inspect_err(|error| {
            dev_err!(
                dev,
                "IOMMU: not used: errno {}; DMA is not translated\n",
                error.to_errno()
            );
        })
    }

    fn enter(instance: &Instance, pdev: &pci::Device) -> Result<Arc<Endpoint>> {
        let ids = PciDeviceId::all_of(pdev)?;
        let endpoint = Arc::new(
            Endpoint {
                pdev: pdev.into(),
                ids,
            },
            GFP_KERNEL,
        )?;
        instance.enter(&endpoint.ids)?;
        Ok(endpoint)
    }

    /// The PCI function that it is.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    fn dev(&self) -> &device::Device {
        self.pdev.as_ref()
    }

    /// Puts the device into a domain, in place of the one that it is in, unless `may_enter` says
    /// that none may enter. There is a message when the hypervisor refuses, or when the next kernel
    /// takes over. In the latter case the device is blocked if the core does not take a refusal.
    ///
    /// Context: may sleep; serialised for one device by the core.
    ///
    /// # Errors
    ///
    /// The device is where it was, or blocked.
    pub(crate) fn attach(
        &self,
        instance: &Instance,
        name: DomainName,
        demand: Demand,
        may_enter: impl Fn() -> bool,
    ) -> Result {
        let Err(error) = instance.put(&self.ids, name, holder(demand), may_enter) else {
            return Ok(());
        };
        match error {
            PutError::Closed => {}
            PutError::Left => {
                dev_warn!(
                    self.dev(),
                    "IOMMU: not put into {name}: the next kernel takes over\n"
                );
                if demand == Demand::Mandatory {
                    return self.block(instance, demand);
                }
            }
            PutError::Refused(failure) => dev_err!(
                self.dev(),
                "IOMMU: {} to {name}: {failure}\n",
                AttachDeviceDomain::NAME
            ),
            PutError::NoMemory(error) => dev_err!(
                self.dev(),
                "IOMMU: {} to {name}: no memory for the hypervisor: errno {}\n",
                AttachDeviceDomain::NAME,
                error.to_errno()
            ),
        }
        Err(error.into())
    }

    /// Keeps the device from doing DMA: by the domain that blocks, by a detach, or, when the
    /// hypervisor does neither, as far as the device itself obeys.
    ///
    /// Context: may sleep; serialised for one device by the core.
    ///
    /// # Errors
    ///
    /// The hypervisor did neither. There is a message.
    pub(crate) fn block(&self, instance: &Instance, demand: Demand) -> Result {
        instance
            .block(&self.ids, holder(demand))
            .inspect_err(|failure| self.stop(*failure))?;
        Ok(())
    }

    /// The device goes. Names that other devices have, too, stay in the domain where those are.
    ///
    /// Context: may sleep.
    pub(crate) fn release(&self, instance: &Instance) {
        if let Err(failure) = instance.release(&self.ids) {
            // The requester stays in the list.
            self.stop(failure);
        }
    }

    /// The device could not be blocked: it is kept from DMA as far as it obeys. There is a message.
    fn stop(&self, failure: HypercallError) {
        bus_master::stop(&self.pdev);
        dev_err!(
            self.dev(),
            "IOMMU: {} to {}: {failure}; not blocked, bus mastering is off\n",
            AttachDeviceDomain::NAME,
            DomainName::BLOCKING
        );
    }
}
