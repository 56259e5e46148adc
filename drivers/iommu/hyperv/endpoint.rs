// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
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
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
    },
};

/// `attached` of a device that is in no domain of ours: no domain has this number.
const NONE: u32 = 0;

/// Whether the hypervisor lets us attach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It said so.
    Granted,
    /// It could not be asked. The device may only be blocked, which keeps it from doing DMA that
    /// nobody controls.
    Unknown,
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    dev: ARef<device::Device>,
    id: LogicalDeviceId,
    admission: Admission,
    /// Number of the domain that the device is in, as far as the hypervisor said; [`NONE`] at first.
    attached: Atomic<u32>,
    /// Number of the domain that the device is being attached to; [`NONE`] otherwise.
    pending: Atomic<u32>,
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
pub(crate) struct NotBlocked {
    attach: Option<HypercallError>,
    detach: HypercallError,
}

/// Whether `failure` says that the hypervisor does not have the device.
fn says_no_such_device(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_DEVICE_ID)
}

impl Endpoint {
    /// Finds out whether `dev` is behind the IOMMU.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], silently: it is not, by the device's kind or by the host's word; [`ENOMEM`].
    pub(crate) fn new(dev: &device::Device) -> Result<ListArc<Endpoint>> {
        let pdev = <&pci::Device>::try_from(dev).map_err(|_| ENODEV)?;
        let id = LogicalDeviceId::of(pdev)?;
        let admission = match calls::get_device_iommu(id) {
            Ok(DeviceIommu::Enabled) => Admission::Granted,
            Ok(DeviceIommu::Disabled) => return Err(ENODEV),
            Err(failure) if says_no_such_device(failure) => return Err(ENODEV),
            Err(failure) => {
                dev_err!(
                    dev,
                    "IOMMU: HVCALL_GET_LOGICAL_DEVICE_PROPERTY of {id}: {failure}; DMA will be blocked\n"
                );
                Admission::Unknown
            }
        };
        ListArc::pin_init(
            try_pin_init!(Endpoint {
                dev: dev.into(),
                id,
                admission,
                attached: Atomic::new(NONE),
                pending: Atomic::new(NONE),
                links <- ListLinks::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether DMA of the device may go through the domain, now or in a moment.
    pub(crate) fn may_use(&self, id: DomainId) -> bool {
        // Ordering: see `attach`.
        self.attached.load(Relaxed) == id.as_u32() || self.pending.load(Relaxed) == id.as_u32()
    }

    fn set_attached(&self, id: DomainId) {
        self.attached.xchg(id.as_u32(), Full);
    }

    /// Puts the device into a domain, in place of the one it is in. There is a message about a
    /// failure.
    ///
    /// Context: may sleep; serialised for one device by the core.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], [`ENOMEM`]; the device is where it was.
    pub(crate) fn attach(&self, id: DomainId) -> Result {
        if self.admission == Admission::Unknown {
            return Err(ENODEV);
        }
        // Full ordering: whoever finds, after this, that the domain must not be used any more looks
        // for the device and finds `pending`; see `Instance::block_domain` and `Paging::attach`.
        self.pending.xchg(id.as_u32(), Full);
        let result = match calls::attach(id, self.id) {
            Ok(()) => Ok(self.set_attached(id)),
            Err(failure) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {
                Ok(self.set_attached(id))
            }
            Err(failure) if self.is_gone(failure) => {
                // Whatever driver still has it sees that by itself; nothing is left to protect.
                dev_info!(self.dev, "IOMMU: the host has taken the device away\n");
                Ok(())
            }
            Err(failure) => {
                dev_err!(
                    self.dev,
                    "IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to domain {id}: {failure}\n"
                );
                Err(match Error::from(failure) {
                    ENOMEM => ENOMEM,
                    _ => ENODEV,
                })
            }
        };
        self.pending.xchg(NONE, Full);
        result
    }

    /// Keeps the device from doing DMA, by the blocking domain or else by detaching it. Nothing is
    /// printed.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// [`NotBlocked`]: both were refused. The device is where it was.
    pub(crate) fn block(&self, instance: &Instance) -> Result<Blocked, NotBlocked> {
        let attach = match instance.blocking() {
            None => None,
            Some(id) => match calls::attach(id, self.id) {
                Ok(()) => {
                    self.set_attached(id);
                    return Ok(Blocked::Attached);
                }
                Err(failure) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {
                    self.set_attached(id);
                    return Ok(Blocked::Attached);
                }
                Err(failure) if self.is_gone(failure) => return Ok(Blocked::Gone),
                Err(failure) => Some(failure),
            },
        };
        match calls::detach(self.id) {
            Ok(()) => {
                self.attached.xchg(NONE, Full);
                Ok(Blocked::Detached)
            }
            // In no domain of the guest, and not to be put into the blocking one.
            Err(detach) => Err(NotBlocked { attach, detach }),
        }
    }

    /// As [`Endpoint::block`], with a message when it did not go as it should.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the device may still do DMA.
    pub(crate) fn block_or_report(&self, instance: &Instance) -> Result {
        match self.block(instance) {
            Ok(Blocked::Attached) => Ok(()),
            Ok(Blocked::Detached) => {
                dev_warn!(
                    self.dev,
                    "IOMMU: not in the blocking domain, detached instead\n"
                );
                Ok(())
            }
            Ok(Blocked::Gone) => {
                dev_info!(self.dev, "IOMMU: the host has taken the device away\n");
                Ok(())
            }
            Err(NotBlocked {
                attach: Some(attach),
                detach,
            }) => {
                dev_err!(
                    self.dev,
                    "IOMMU: DMA is not blocked: HVCALL_ATTACH_DEVICE_DOMAIN: {attach}, HVCALL_DETACH_DEVICE_DOMAIN: {detach}\n"
                );
                Err(EIO)
            }
            Err(NotBlocked {
                attach: None,
                detach,
            }) => {
                dev_err!(
                    self.dev,
                    "IOMMU: DMA is not blocked: HVCALL_DETACH_DEVICE_DOMAIN: {detach}\n"
                );
                Err(EIO)
            }
        }
    }

    /// Whether the host has taken the device away. One refusal is not believed: a second call, of
    /// another kind, must agree.
    fn is_gone(&self, failure: HypercallError) -> bool {
        says_no_such_device(failure)
            && calls::get_device_iommu(self.id).is_err_and(says_no_such_device)
    }
}
