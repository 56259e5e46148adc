// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    abi::{
        AttachDeviceDomain,
        DetachDeviceDomain,
        GetLogicalDeviceProperty, //
    },
    calls::{
        self,
        DeviceIommu, //
    },
    domain_ids::DomainId,
    instance::Instance, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::{
            HypercallError,
            Status, //
        },
    },
    list::{
        impl_list_arc_safe,
        impl_list_item,
        ListArc,
        ListLinks, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        new_spinlock_irq,
        SpinLockIrq, //
    },
};

/// Whether the hypervisor lets us attach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It said so.
    Granted,
    /// It could not be asked. The device may only be blocked, which keeps it from doing DMA that
    /// nobody controls.
    Unknown,
}

/// Where the device's DMA goes, as far as the hypervisor said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where the host put it at first: DMA is not translated.
    Initial,
    /// Through a domain.
    In(DomainId),
    /// Nowhere.
    Blocked,
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    dev: ARef<device::Device>,
    id: LogicalDeviceId,
    admission: Admission,
    /// Held over the hypercall that changes it, so that it never lags behind the hypervisor.
    #[pin]
    place: SpinLockIrq<Place>,
    #[pin]
    links: ListLinks,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Endpoint { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Endpoint { using ListLinks { self.links }; }
}

/// How a device was kept from doing DMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// It is in the blocking domain.
    Attached,
    /// It is in no domain, which blocks it, too.
    Detached,
    /// The host has taken it away.
    Gone,
}

/// A device could be neither attached to the blocking domain nor detached.
#[derive(Clone, Copy)]
pub(crate) struct NotBlocked {
    attach: Option<HypercallError>,
    detach: HypercallError,
}

/// What became of an attach.
enum Attached {
    Yes,
    /// The domain is not to be used any more.
    Refused,
    /// The host has taken the device away.
    Gone,
    Failed(HypercallError),
}

/// Whether `failure` says that the hypervisor does not have the device. That it is this status is
/// our reading of its name; no document says so.
fn says_no_such_device(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_DEVICE_ID)
}

/// Whether the host has taken the device away. One refusal is not believed: a second call, of
/// another kind, must agree.
fn is_gone(id: LogicalDeviceId, failure: HypercallError) -> bool {
    says_no_such_device(failure) && calls::get_device_iommu(id).is_err_and(says_no_such_device)
}

/// Keeps a device from doing DMA, by the blocking domain or else by detaching it.
fn block(id: LogicalDeviceId, blocking: Option<DomainId>) -> Result<Blocked, NotBlocked> {
    let attach = match blocking.map(|domain| calls::attach(domain, id)) {
        None => None,
        Some(Ok(())) => return Ok(Blocked::Attached),
        Some(Err(failure)) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {
            return Ok(Blocked::Attached);
        }
        Some(Err(failure)) if is_gone(id, failure) => return Ok(Blocked::Gone),
        Some(Err(failure)) => Some(failure),
    };
    match calls::detach(id) {
        Ok(()) => Ok(Blocked::Detached),
        Err(detach) => Err(NotBlocked { attach, detach }),
    }
}

/// Says what is not as it should be.
///
/// # Errors
///
/// [`EIO`]: the device may still do DMA.
fn report(dev: &device::Device, result: Result<Blocked, NotBlocked>) -> Result {
    match result {
        Ok(Blocked::Attached) => Ok(()),
        Ok(Blocked::Detached) => {
            dev_warn!(dev, "IOMMU: not in the blocking domain, detached instead\n");
            Ok(())
        }
        Ok(Blocked::Gone) => {
            dev_info!(dev, "IOMMU: the host has taken the device away\n");
            Ok(())
        }
        Err(NotBlocked {
            attach: Some(attach),
            detach,
        }) => {
            dev_err!(
                dev,
                "IOMMU: DMA is not blocked: {}: {attach}, {}: {detach}\n",
                AttachDeviceDomain::NAME,
                DetachDeviceDomain::NAME
            );
            Err(EIO)
        }
        Err(NotBlocked {
            attach: None,
            detach,
        }) => {
            dev_err!(
                dev,
                "IOMMU: DMA is not blocked: {}: {detach}\n",
                DetachDeviceDomain::NAME
            );
            Err(EIO)
        }
    }
}

impl Endpoint {
    /// Finds out whether `dev` is behind the IOMMU.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], silently: it is not, by the device's kind or by the host's word. [`ENOMEM`]: it
    /// is, and was blocked.
    pub(crate) fn new(instance: &Instance, dev: &device::Device) -> Result<ListArc<Endpoint>> {
        let pdev = <&pci::Device>::try_from(dev).map_err(|_| ENODEV)?;
        let id = LogicalDeviceId::of(pdev)?;
        let admission = match calls::get_device_iommu(id) {
            Ok(DeviceIommu::Enabled) => Admission::Granted,
            Ok(DeviceIommu::Disabled) => return Err(ENODEV),
            Err(failure) if says_no_such_device(failure) => return Err(ENODEV),
            Err(failure) => {
                dev_err!(
                    dev,
                    "IOMMU: {} of {id}: {failure}; DMA is blocked\n",
                    GetLogicalDeviceProperty::NAME
                );
                Admission::Unknown
            }
        };
        let endpoint = ListArc::pin_init(
            try_pin_init!(Endpoint {
                dev: dev.into(),
                id,
                admission,
                place <- new_spinlock_irq!(Place::Initial),
                links <- ListLinks::new(),
            }),
            GFP_KERNEL,
        );
        endpoint.inspect_err(|_: &Error| {
            dev_err!(dev, "IOMMU: no memory; DMA is blocked\n");
            let _ = report(dev, block(id, instance.want_blocking()));
        })
    }

    /// Whether the hypervisor lets us attach the device.
    pub(crate) fn admission(&self) -> Admission {
        self.admission
    }

    /// Puts the device into a domain, in place of the one it is in, unless `refused` says that the
    /// domain is not to be used any more. There is a message about a failure.
    ///
    /// Context: may sleep; serialised for one device by the core.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], [`ENOMEM`]; the device is where it was.
    pub(crate) fn attach(&self, id: DomainId, refused: impl FnOnce() -> bool) -> Result {
        if self.admission == Admission::Unknown {
            return Err(ENODEV);
        }
        match self.try_attach(id, refused) {
            Attached::Yes => Ok(()),
            Attached::Refused => Err(ENODEV),
            Attached::Gone => {
                // Whatever driver still has it sees that by itself; nothing is left to protect.
                dev_info!(self.dev, "IOMMU: the host has taken the device away\n");
                Ok(())
            }
            Attached::Failed(failure) => {
                dev_err!(
                    self.dev,
                    "IOMMU: {} to domain {id}: {failure}\n",
                    AttachDeviceDomain::NAME
                );
                Err(match Error::from(failure) {
                    ENOMEM => ENOMEM,
                    _ => ENODEV,
                })
            }
        }
    }

    fn try_attach(&self, id: DomainId, refused: impl FnOnce() -> bool) -> Attached {
        let mut place = self.place.lock();
        // Under the lock: a domain is refused first, and its devices are blocked then, each under
        // its own lock. Either this sees the refusal, or that sees the device.
        if refused() {
            return Attached::Refused;
        }
        match calls::attach(id, self.id) {
            Ok(()) => {}
            Err(failure) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {}
            Err(failure) if is_gone(self.id, failure) => {
                *place = Place::Blocked;
                return Attached::Gone;
            }
            Err(failure) => return Attached::Failed(failure),
        }
        *place = Place::In(id);
        Attached::Yes
    }

    /// Keeps the device from doing DMA if it is in this domain. Nothing is printed.
    ///
    /// Context: any.
    pub(crate) fn block_if_in(
        &self,
        id: DomainId,
        blocking: Option<DomainId>,
    ) -> Option<Result<Blocked, NotBlocked>> {
        let mut place = self.place.lock();
        (*place == Place::In(id)).then(|| self.block_locked(&mut place, blocking))
    }

    fn block_locked(
        &self,
        place: &mut Place,
        blocking: Option<DomainId>,
    ) -> Result<Blocked, NotBlocked> {
        let result = block(self.id, blocking);
        if result.is_ok() {
            *place = Place::Blocked;
        }
        result
    }

    /// Keeps the device from doing DMA, with a message when that did not go as it should.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the device may still do DMA.
    pub(crate) fn block(&self, instance: &Instance) -> Result {
        let blocking = instance.want_blocking();
        let result = self.block_locked(&mut self.place.lock(), blocking);
        report(&self.dev, result)
    }

    /// As [`Endpoint::block`], for a device that nobody has attached to the blocking domain.
    ///
    /// Context: may sleep.
    pub(crate) fn block_unless_blocked(&self, instance: &Instance) {
        let blocked = *self.place.lock() == Place::Blocked;
        if !blocked {
            let _ = self.block(instance);
        }
    }
}
