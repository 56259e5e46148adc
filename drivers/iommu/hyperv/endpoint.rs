// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    block::{
        block,
        is_gone,
        report,
        report_gone,
        says_no_such_device,
        Blocked,
        NotBlocked, //
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
        device_domain::{
            AttachDeviceDomain,
            GetLogicalDeviceProperty, //
        },
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::{
            HypercallError,
            Status, //
        },
        trace, //
    },
    iommu::{
        ats::{
            Ats,
            TranslationUnit, //
        },
        bus_master, //
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

/// What the device may do behind a domain besides plain DMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TranslatedRequests {
    /// It may ask for translations and use them later, if it and the IOMMU can.
    Allowed,
    /// It may not. That a domain without a table answers such requests, and lets only through what
    /// it answered, is documented nowhere.
    Forbidden,
}

/// Where the device's DMA goes, as far as the hypervisor said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the host put it at first: DMA is not translated.
    Initial,
    /// Through a domain.
    In(DomainId),
    /// Nowhere.
    Blocked(Blocked),
}

/// What changes of a device.
struct State {
    place: Place,
    /// On only while the device is in a domain with a table.
    ats: Option<Ats>,
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    dev: ARef<device::Device>,
    id: LogicalDeviceId,
    admission: Admission,
    /// Held over the hypercall that changes it, so that it never lags behind the hypervisor.
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    links: ListLinks,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Endpoint { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Endpoint { using ListLinks { self.links }; }
}

/// What became of an attach.
enum Attached {
    /// It is in the domain; ATS may have failed.
    Yes(Result),
    /// The domain is not to be used any more; the device is where it was.
    Refused,
    /// The same, of a device that is blocked. The core cannot take a refusal after a reset, when it
    /// attaches a device to the domain that its group is in; blocked is as safe as refused.
    StaysBlocked,
    /// The host has taken the device away.
    Gone,
    Failed(HypercallError),
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
    pub(crate) fn new(
        instance: &Instance,
        dev: &device::Device,
        ats: Option<Ats>,
    ) -> Result<ListArc<Endpoint>> {
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
                state <- new_spinlock_irq!(State {
                    place: Place::Initial,
                    ats: ats.filter(|_| instance.offers_ats()),
                }),
                links <- ListLinks::new(),
            }),
            GFP_KERNEL,
        );
        endpoint.inspect_err(|_: &Error| {
            dev_err!(dev, "IOMMU: no memory; DMA is blocked\n");
            let _ = report(dev, block(id, instance.want_blocking()));
        })
    }

    /// The device.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn dev(&self) -> &device::Device {
        &self.dev
    }

    /// The hypervisor's name for it.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn id(&self) -> LogicalDeviceId {
        self.id
    }

    /// Where its DMA goes.
    ///
    /// Context: any.
    pub(crate) fn place(&self) -> Place {
        self.state.lock().place
    }

    /// Whether the host was seen to have taken the device away, which is said once.
    fn is_gone(&self) -> bool {
        self.place() == Place::Blocked(Blocked::Gone)
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
    pub(crate) fn attach(
        &self,
        id: DomainId,
        requests: TranslatedRequests,
        refused: &dyn Fn() -> bool,
    ) -> Result {
        if self.admission == Admission::Unknown {
            return Err(ENODEV);
        }
        let was_gone = self.is_gone();
        match self.try_attach(id, requests, refused) {
            Attached::Yes(Ok(())) => Ok(()),
            Attached::Yes(Err(error)) => {
                dev_warn!(
                    self.dev,
                    "IOMMU: ATS stays off: errno {}\n",
                    error.to_errno()
                );
                Ok(())
            }
            Attached::Refused => Err(ENODEV),
            Attached::StaysBlocked => {
                dev_warn!(
                    self.dev,
                    "IOMMU: stays blocked, domain {id} is not to be used any more\n"
                );
                Ok(())
            }
            Attached::Gone => {
                // Whatever driver still has it sees that by itself; nothing is left to protect.
                if !was_gone {
                    report_gone(&self.dev);
                }
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

    fn try_attach(
        &self,
        id: DomainId,
        requests: TranslatedRequests,
        refused: &dyn Fn() -> bool,
    ) -> Attached {
        let mut state = self.state.lock();
        // Under the lock: a domain is refused first, and its devices are blocked then, each under
        // its own lock. Either this sees the refusal, or that sees the device.
        if refused() {
            return match state.place {
                Place::Blocked(_) => Attached::StaysBlocked,
                Place::Initial | Place::In(_) => Attached::Refused,
            };
        }
        let had_ats = requests == TranslatedRequests::Forbidden && state.switch_ats_off();
        match calls::attach(id, self.id) {
            Ok(()) => {}
            Err(failure) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {}
            Err(failure) if is_gone(self.id, failure) => {
                state.place = Place::Blocked(Blocked::Gone);
                trace::block(&self.dev, self.id, || trace::Block::Gone);
                return Attached::Gone;
            }
            Err(failure) => {
                if had_ats {
                    // It was on before, so that this cannot fail.
                    let _ = state.switch_ats_on();
                }
                return Attached::Failed(failure);
            }
        }
        state.place = Place::In(id);
        trace::attach(&self.dev, self.id, id.as_u32());
        Attached::Yes(match requests {
            TranslatedRequests::Allowed => state.switch_ats_on(),
            TranslatedRequests::Forbidden => Ok(()),
        })
    }

    /// Keeps the device from doing DMA if it is in this domain: by the IOMMU, else as far as the
    /// device obeys. Nothing is printed.
    ///
    /// Context: any.
    pub(crate) fn block_if_in(
        &self,
        id: DomainId,
        blocking: Option<DomainId>,
    ) -> Option<Result<Blocked, NotBlocked>> {
        let mut state = self.state.lock();
        (state.place == Place::In(id)).then(|| self.block_locked(&mut state, blocking))
    }

    fn block_locked(
        &self,
        state: &mut State,
        blocking: Option<DomainId>,
    ) -> Result<Blocked, NotBlocked> {
        state.switch_ats_off();
        let result = block(self.id, blocking);
        match result {
            Ok(how) => state.place = Place::Blocked(how),
            // Nothing but the device itself is left to be told.
            Err(_) => bus_master::stop(&self.dev),
        }
        trace::block(&self.dev, self.id, || match result {
            Ok(Blocked::Attached) => trace::Block::Attached,
            Ok(Blocked::Detached) => trace::Block::Detached,
            Ok(Blocked::Gone) => trace::Block::Gone,
            Err(_) => trace::Block::Failed,
        });
        result
    }

    /// Keeps the device from doing DMA, with a message when that did not go as it should.
    ///
    /// Context: may sleep; serialised for one device by the core.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the IOMMU may still let the device do DMA. The device is kept off the bus, as long
    /// as its driver leaves it at that.
    pub(crate) fn block(&self, instance: &Instance) -> Result {
        let was_gone = self.is_gone();
        match self.block_now(instance.want_blocking()) {
            Ok(Blocked::Gone) if was_gone => Ok(()),
            result => report(&self.dev, result),
        }
    }

    /// As [`Endpoint::block`], for a device that nobody has attached to the blocking domain.
    ///
    /// Context: may sleep; serialised for one device by the core.
    pub(crate) fn block_unless_blocked(&self, instance: &Instance) {
        if !matches!(self.place(), Place::Blocked(_)) {
            let _ = self.block(instance);
        }
    }

    /// As [`Endpoint::block_if_in`], whatever it is in.
    ///
    /// Context: any.
    pub(crate) fn block_now(&self, blocking: Option<DomainId>) -> Result<Blocked, NotBlocked> {
        self.block_locked(&mut self.state.lock(), blocking)
    }
}

impl State {
    /// Lets the device ask for translations, if it can and the IOMMU answers.
    fn switch_ats_on(&mut self) -> Result {
        match &mut self.ats {
            Some(ats) => ats.switch_on(TranslationUnit::Size4K),
            None => Ok(()),
        }
    }

    /// Keeps the device from asking for translations. Whether it was allowed to.
    fn switch_ats_off(&mut self) -> bool {
        self.ats.as_mut().is_some_and(Ats::switch_off)
    }
}
