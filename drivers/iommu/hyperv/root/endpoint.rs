// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU, as the core moves it.

use super::{
    device_domain::AttachDeviceDomain,
    domain_name::DomainName,
    driver::RootIommu,
    function::Function,
    instance::Instance,
    places::{
        Holder,
        Presence, //
    },
    put_error::PutError, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        status::HypercallError, //
    },
    iommu::probed::{
        AttachTarget,
        Demand,
        Probing, //
    },
    pci::{
        bus_master,
        present::PresentDevice, //
    },
    prelude::*,
    sync::{
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    },
};

/// Who uses a device that the core moves. Drivers of the kernel use domains of the DMA API. The
/// core gives a device back to them by the group's default domain.
pub(crate) fn holder(target: &AttachTarget<'_, RootIommu>) -> Holder {
    if target.serves_dma_api() || target.demand() == Demand::Mandatory {
        Holder::Kernel
    } else {
        Holder::Other
    }
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    function: Arc<Function>,
    /// Only the core's callbacks use it, which the core serialises.
    #[pin]
    state: SpinLockIrq<State>,
}

/// What the core was told of a device.
#[derive(Clone, Copy)]
struct State {
    /// The domain that the core has put the device into last.
    chosen: Option<DomainName>,
    presence: Presence,
}

impl Endpoint {
    /// Takes a device into service. The device stays in the domain that it is in.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it is no PCI device (silently), or cannot be taken into service (with a
    /// message). The core passes over such a device, whose DMA is not translated. Any other error
    /// would keep all devices from being translated. If memory ran out, the device's bus mastering
    /// is off until its driver switches it on, which needs memory, too.
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
        let entry = Function::new(pdev)?;
        let function = entry.clone_arc();
        let endpoint = Arc::pin_init(
            pin_init!(Endpoint {
                function,
                state <- new_spinlock_irq!(State {
                    chosen: None,
                    presence: Presence::There,
                }),
            }),
            GFP_KERNEL,
        )?;
        instance.enter(entry)?;
        Ok(endpoint)
    }

    /// The PCI function that it is.
    pub(crate) fn pdev(&self) -> &PresentDevice {
        self.function.pdev()
    }

    fn dev(&self) -> &device::Device {
        self.function.dev()
    }

    /// Puts a device into a domain, in place of the one it is in, unless `may_enter` says that none
    /// may enter. `holder` uses the device. There is a message if the device does not enter.
    ///
    /// A device that does not enter is blocked if the core could not handle an error. The same goes
    /// for a closed domain that the core has put the device into last, and for one of the kernel's:
    /// the core puts the device back there after a reset, or when another device of its group was
    /// refused. A device that the hypervisor no longer knows does no DMA, and its driver will
    /// notice that it is gone.
    ///
    /// Context: may sleep; the core serialises this for one device.
    ///
    /// # Errors
    ///
    /// The device is where it was, or blocked.
    pub(crate) fn attach(
        target: &AttachTarget<'_, RootIommu>,
        name: DomainName,
        holder: Holder,
        may_enter: impl Fn() -> bool,
    ) -> Result {
        let (this, instance) = (target.endpoint(), target.instance());
        let state = *this.state.lock();
        let enter = |presence| {
            *this.state.lock() = State {
                chosen: Some(name),
                presence,
            };
        };
        let error = match instance.put(this.function.ids(), name, holder, may_enter) {
            Ok(presence) => {
                if state.presence == Presence::There && presence == Presence::Gone {
                    dev_warn!(
                        this.dev(),
                        "IOMMU: the hypervisor does not know the device\n"
                    );
                }
                enter(presence);
                return Ok(());
            }
            Err(error) => error,
        };
        let is_put_back = holder == Holder::Kernel || state.chosen == Some(name);
        let must_succeed = target.demand() == Demand::Mandatory
            || matches!(error, PutError::Closed) && is_put_back;
        if must_succeed && this.block(instance, holder).is_ok() {
            this.report(name, error, "; blocked");
        } else {
            // If the device could not be blocked, there was a message of its own.
            this.report(name, error, "");
        }
        if !must_succeed {
            return Err(error.into());
        }
        enter(state.presence);
        Ok(())
    }

    /// Writes a message about a device that did not enter a domain.
    #[cold]
    fn report(&self, name: DomainName, error: PutError, end: &str) {
        match error {
            PutError::Closed => dev_warn!(
                self.dev(),
                "IOMMU: not put into a domain: it takes no devices any more{end}\n"
            ),
            PutError::Left => dev_warn!(
                self.dev(),
                "IOMMU: not put into {name}: the next kernel takes over{end}\n"
            ),
            PutError::Refused(failure) => dev_err!(
                self.dev(),
                "IOMMU: {} to {name}: {failure}{end}\n",
                AttachDeviceDomain::NAME
            ),
            PutError::NoMemory(error) => dev_err!(
                self.dev(),
                "IOMMU: {} to {name}: no memory for the hypervisor: errno {}{end}\n",
                AttachDeviceDomain::NAME,
                error.to_errno()
            ),
        }
    }

    /// Keeps the device from doing DMA, by the blocking domain or by a detach. If the hypervisor
    /// does neither, switches off the device's bus mastering.
    ///
    /// Context: may sleep; the core serialises this for one device.
    ///
    /// # Errors
    ///
    /// The hypervisor did neither. There is a message.
    pub(crate) fn block(&self, instance: &Instance, holder: Holder) -> Result {
        instance
            .block(self.function.ids(), holder)
            .inspect_err(|failure| self.stop(*failure))?;
        Ok(())
    }

    /// Releases the device. Ids that other devices have, too, stay in the domain of those devices.
    ///
    /// Context: may sleep.
    pub(crate) fn release(&self, instance: &Instance) {
        if let Err(failure) = instance.release(&self.function) {
            // The requesters that could not be blocked stay in the list.
            self.stop(failure);
        }
    }

    /// Switches off the bus mastering of a device that the hypervisor could not block, with a
    /// message.
    fn stop(&self, failure: HypercallError) {
        bus_master::stop(self.pdev());
        dev_err!(
            self.dev(),
            "IOMMU: {} to {}: {failure}; not blocked, bus mastering is off\n",
            AttachDeviceDomain::NAME,
            DomainName::BLOCKING
        );
    }
}
