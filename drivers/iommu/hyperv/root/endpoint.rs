// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    device_domain::AttachDeviceDomain,
    domain_name::DomainName,
    instance::Instance,
    places::Holder,
    put_error::PutError, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        pci_device::PciDeviceId,
        status::HypercallError, //
    },
    iommu::probed::{
        Demand,
        Probing, //
    },
    pci::{
        bus_master,
        present::{
            Present,
            PresentDevice, //
        }, //
    },
    prelude::*,
    sync::Arc,
};

/// Who uses a device that the core moves. Drivers of the kernel use the group's default domain.
fn holder(demand: Demand) -> Holder {
    match demand {
        Demand::Mandatory => Holder::Kernel,
        Demand::Optional => Holder::Other,
    }
}

/// A device.
pub(crate) struct Endpoint {
    pdev: PresentDevice,
    /// The ids with which its DMA reaches the IOMMU, at least one.
    ids: KVec<PciDeviceId>,
}

impl Endpoint {
    /// Takes a device into service. The device stays in the domain that it is in.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it is no PCI device (silently), or cannot be taken into service (with a message).
    /// The core passes over such a device, whose DMA is not translated. Any other error would keep
    /// all devices from being translated. If memory ran out, the device's bus mastering is off until
    /// its driver switches it on, which needs memory, too.
    pub(crate) fn new(instance: &Instance, device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        let pdev = &device.pci().ok_or(ENODEV)?;
        Endpoint::enter(instance, pdev).map_err(|error| {
            if error == ENOMEM {
                bus_master::stop(pdev);
            }
            dev_err!(
                device.dev(),
                "IOMMU: not used: errno {}; DMA is not translated\n",
                error.to_errno()
            );
            ENODEV
        })
    }

    fn enter(instance: &Instance, pdev: &PresentDevice) -> Result<Arc<Endpoint>> {
        let ids = PciDeviceId::all_of(pdev)?;
        let endpoint = Arc::new(
            Endpoint {
                pdev: pdev.clone(),
                ids,
            },
            GFP_KERNEL,
        )?;
        instance.enter(&endpoint.ids)?;
        Ok(endpoint)
    }

    /// The PCI function that it is.
    pub(crate) fn pdev(&self) -> &PresentDevice {
        &self.pdev
    }

    fn dev(&self) -> &device::Device {
        self.pdev.function().as_ref()
    }

    /// Puts the device into a domain, in place of the one it is in, unless `may_enter` says that
    /// none may enter. There is a message if the hypervisor refuses, or if the next kernel takes
    /// over. In the latter case the device is blocked if the core cannot handle a refusal.
    ///
    /// Context: may sleep; the core serialises this for one device.
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

    /// Keeps the device from doing DMA, by the blocking domain or by a detach. If the hypervisor
    /// does neither, switches off the device's bus mastering.
    ///
    /// Context: may sleep; the core serialises this for one device.
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

    /// Releases the device. Ids that other devices have, too, stay in the domain of those devices.
    ///
    /// Context: may sleep.
    pub(crate) fn release(&self, instance: &Instance) {
        if let Err(failure) = instance.release(&self.ids) {
            // The requesters that could not be blocked stay in the list.
            self.stop(failure);
        }
    }

    /// Switches off the bus mastering of a device that the hypervisor could not block, with a
    /// message.
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
