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
    instance::Instance,
    protocol::{
        self,
        Answer,
        Attached, //
    },
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
        atomic::AtomicFlag,
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
pub(crate) type Place = protocol::Place<DomainId, Blocked>;

/// What changes of a device.
pub(crate) struct State {
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

    /// Puts the device into a domain, in place of the one it is in, unless one of the flags closes
    /// the domain. There is a message about a failure.
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
        closed_by: &[&AtomicFlag],
    ) -> Result {
        if self.admission == Admission::Unknown {
            return Err(ENODEV);
        }
        let was_gone = self.is_gone();
        match protocol::attach(self, id, requests, closed_by) {
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
        match protocol::block(self, instance.want_blocking()) {
            Ok(Blocked::Gone) if was_gone => Ok(()),
            result => report(&self.dev, result),
        }
    }
}

impl protocol::Device for Endpoint {
    type Domain = DomainId;
    type Blocked = Blocked;
    type NotBlocked = NotBlocked;
    type Requests = TranslatedRequests;
    /// Whether ATS, where it may be on, could be switched on.
    type Entered = Result;
    type Failure = HypercallError;
    type State = State;

    fn locked<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock())
    }

    fn place(state: &mut State) -> &mut Place {
        &mut state.place
    }

    fn call_attach(
        &self,
        state: &mut State,
        id: DomainId,
        requests: TranslatedRequests,
    ) -> Answer<Blocked, Result, HypercallError> {
        let had_ats = requests == TranslatedRequests::Forbidden && state.switch_ats_off();
        match calls::attach(id, self.id) {
            Ok(()) => {}
            Err(failure) if failure.is(Status::DEVICE_ALREADY_IN_DOMAIN) => {}
            Err(failure) if is_gone(self.id, failure) => {
                trace::block(&self.dev, self.id, || trace::Block::Gone);
                return Answer::Gone(Blocked::Gone);
            }
            Err(failure) => {
                if had_ats {
                    // It was on before, so that this cannot fail.
                    let _ = state.switch_ats_on();
                }
                return Answer::Failed(failure);
            }
        }
        trace::attach(&self.dev, self.id, id.as_u32());
        Answer::Entered(match requests {
            TranslatedRequests::Allowed => state.switch_ats_on(),
            TranslatedRequests::Forbidden => Ok(()),
        })
    }

    /// By the IOMMU, else as far as the device obeys. Nothing is printed.
    ///
    /// Context: any.
    fn call_block(
        &self,
        state: &mut State,
        blocking: Option<DomainId>,
    ) -> Result<Blocked, NotBlocked> {
        state.switch_ats_off();
        let result = block(self.id, blocking);
        if result.is_err() {
            // Nothing but the device itself is left to be told.
            bus_master::stop(&self.dev);
        }
        trace::block(&self.dev, self.id, || match result {
            Ok(Blocked::Attached) => trace::Block::Attached,
            Ok(Blocked::Detached) => trace::Block::Detached,
            Ok(Blocked::Gone) => trace::Block::Gone,
            Err(_) => trace::Block::Failed,
        });
        result
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
