// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    block::{
        block,
        is_gone,
        report,
        report_gone,
        Blocked,
        NotBlocked, //
    },
    calls::{
        self,
        DeviceIommu, //
    },
    device_domain::{
        AttachDeviceDomain,
        GetLogicalDeviceProperty, //
    },
    domain_ids::DomainId,
    instance::{
        Instance,
        Serial, //
    },
    protocol::{
        self,
        Answer,
        Attached,
        Caller, //
    },
    readings::{
        self,
        DeviceAnswer, //
    }, //
    trace,
};
use core::mem;
use kernel::{
    device::{
        self,
        lock, //
    },
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    iommu::probed::Demand,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        ListArc,
        ListLinks, //
    },
    pci::{
        self,
        ats::{
            Ats,
            TranslationUnit, //
        },
        bus_master, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::AtomicFlag,
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// How long the driver waits before it asks about a device again, in milliseconds, each time that the
/// host could not say, or that another device still has the id. Devices are probed one after the
/// other: a host that never says must not delay the boot by more than this for each.
const PAUSES: [i64; 3] = [1, 10, 100];

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
    pub(super) place: Place,
    /// The domain, other than the blocking one, that the core has last put the device into.
    chosen: Option<DomainId>,
    /// On only while the device is in a domain with a table. [`None`] as well when the device is
    /// released.
    ats: Option<Ats>,
    /// A flush that failed has written registers of the device; what the kernel keeps about them is
    /// to follow in process context.
    unsettled: Unsettled,
    /// Where it was when the system went to sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(super) slept: Option<Place>,
}

/// What is left to process context.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsettled {
    Nothing,
    /// ATS is off.
    Ats,
    /// ATS is off, and the device could not be blocked but by itself.
    BusMaster,
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    pdev: ARef<pci::Device>,
    id: LogicalDeviceId,
    serial: Serial,
    admission: Admission,
    /// Held over the hypercall that changes it, so that it never lags behind the hypervisor.
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    links: ListLinks,
    #[pin]
    work: Work<Endpoint>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Endpoint { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Endpoint { using ListLinks { self.links }; }
}
impl_has_work! {
    impl HasWork<Self> for Endpoint { self.work }
}

impl Endpoint {
    /// Finds out whether `dev` is behind the IOMMU.
    ///
    /// Context: may sleep; serialised by the core with all that enters devices.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it is not. Silently, when the device is of another kind or the host said so, and
    /// with a message when the host refused to answer, or the device has another device's id.
    /// [`ENOMEM`]: it is, and was blocked, with a message.
    pub(crate) fn new(instance: &Instance, dev: &device::Device) -> Result<ListArc<Endpoint>> {
        let pdev = <&pci::Device>::try_from(dev).map_err(|_| ENODEV)?;
        let id = LogicalDeviceId::of(pdev)?;
        if retried(|| instance.claim(id), |_| true).is_err() {
            // Whatever a call does about the id, it does to the other device.
            dev_err!(
                dev,
                "IOMMU: another device has the id {id}; DMA is not under control of this IOMMU\n"
            );
            bus_master::stop(pdev);
            return Err(ENODEV);
        }
        let failure = match ask(id) {
            Ok(DeviceIommu::Enabled) => None,
            Ok(DeviceIommu::Disabled) => return Err(ENODEV),
            Err(failure) => match readings::device_answer(failure) {
                DeviceAnswer::NotBehind => return Err(ENODEV),
                DeviceAnswer::Refused => {
                    dev_warn!(
                        dev,
                        "IOMMU: {} of {id}: {failure}; DMA is not translated\n",
                        GetLogicalDeviceProperty::NAME
                    );
                    return Err(ENODEV);
                }
                DeviceAnswer::CouldNotSay => Some(failure),
            },
        };
        let endpoint = ListArc::pin_init(
            try_pin_init!(Endpoint {
                pdev: pdev.into(),
                id,
                serial: instance.next_serial(),
                admission: match failure {
                    None => Admission::Granted,
                    Some(_) => Admission::Unknown,
                },
                state <- new_spinlock_irq!(State {
                    place: Place::Initial,
                    chosen: None,
                    ats: instance.offers_ats().then(|| usable_ats(pdev)).flatten(),
                    unsettled: Unsettled::Nothing,
                    #[cfg(CONFIG_HIBERNATION)]
                    slept: None,
                }),
                links <- ListLinks::new(),
                work <- new_work!("Endpoint::work"),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|_: &Error| {
            let result = block(id, instance.want_blocking());
            if result.is_err() {
                bus_master::stop(pdev);
            }
            // When the device cannot be blocked, there is a message about that, too.
            let end = report(dev, result).map_or("", |()| "; DMA is blocked");
            dev_err!(dev, "IOMMU: no memory for the device{end}\n");
        })?;
        if let Some(failure) = failure {
            // When the device cannot be blocked, there is a message about that, too.
            let end = match endpoint.block(instance) {
                Ok(()) => "; DMA is blocked",
                Err(_) => "",
            };
            dev_err!(
                dev,
                "IOMMU: {} of {id}: {failure}{end}\n",
                GetLogicalDeviceProperty::NAME
            );
        }
        Ok(endpoint)
    }

    /// The device.
    pub(crate) fn dev(&self) -> &device::Device {
        self.pdev.as_ref()
    }

    /// The PCI function that it is.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// The hypervisor's name for it.
    pub(crate) fn id(&self) -> LogicalDeviceId {
        self.id
    }

    /// Its place in the list of devices.
    pub(crate) fn serial(&self) -> Serial {
        self.serial
    }

    /// Where its DMA goes.
    ///
    /// Context: any.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn place(&self) -> Place {
        self.state.lock().place
    }

    /// Calls `f` with the device's state.
    #[cfg(CONFIG_HIBERNATION)]
    pub(super) fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock())
    }

    /// Whether the host was seen to have taken the device away, which is said once.
    fn is_gone(&self) -> bool {
        self.state.lock().is_gone()
    }

    /// Another device of this one's id has appeared: when the host has taken this one away, no call
    /// names it from now on. Whether that is so.
    ///
    /// Context: any.
    pub(crate) fn make_way(&self) -> bool {
        let mut state = self.state.lock();
        if state.is_gone() {
            state.place = Place::Blocked(Blocked::Replaced);
        }
        state.is_replaced()
    }

    /// Whether the device may ask for translations while it is in a domain with a table.
    ///
    /// Context: any.
    pub(crate) fn has_ats(&self) -> bool {
        self.state.lock().ats.is_some()
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
        demand: Demand,
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
                    self.dev(),
                    "IOMMU: ATS stays off: errno {}\n",
                    error.to_errno()
                );
                Ok(())
            }
            Attached::Refused => Err(ENODEV),
            Attached::StaysBlocked => {
                dev_warn!(
                    self.dev(),
                    "IOMMU: stays blocked, domain {id} is not to be used any more\n"
                );
                // Blocked is as safe as refused. When the core puts the device back where it was, after
                // a reset, it cannot take a refusal. Nothing tells that from a program that has taken
                // the device out of the domain and puts it back: that is not refused either.
                if demand == Demand::Mandatory || self.state.lock().chosen == Some(id) {
                    Ok(())
                } else {
                    Err(ENODEV)
                }
            }
            Attached::Gone => {
                // Whatever driver still has it sees that by itself; nothing is left to protect.
                if !was_gone {
                    report_gone(self.dev());
                }
                Ok(())
            }
            Attached::Failed(failure) => {
                dev_err!(
                    self.dev(),
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
            Ok(Blocked::Gone | Blocked::Replaced) if was_gone => Ok(()),
            result => report(self.dev(), result),
        }
    }

    /// Whether something is left to process context.
    ///
    /// Context: any.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.state.lock().unsettled != Unsettled::Nothing
    }

    /// The device is released: nothing is done to it from now on.
    ///
    /// Context: may sleep; serialised for one device by the core.
    pub(crate) fn retire(&self) {
        let mut state = self.state.lock();
        state.settle(&self.pdev);
        state.switch_ats_off();
        let ats = state.ats.take();
        drop(state);
        drop(ats);
    }
}

/// Does what a flush that failed has left to process context.
impl WorkItem for Endpoint {
    type Pointer = Arc<Endpoint>;

    fn run(this: Arc<Endpoint>) {
        lock::with_locked(this.dev(), || this.state.lock().settle(&this.pdev));
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
        if state.is_replaced() {
            return Answer::Gone(Blocked::Replaced);
        }
        let had_ats = requests == TranslatedRequests::Forbidden && state.switch_ats_off();
        match calls::attach(id, self.id) {
            Ok(()) => {}
            Err(failure) if readings::is_attached_already(failure) => {}
            Err(failure) if is_gone(self.id, failure) => {
                state.chosen = Some(id);
                trace::block(self.dev(), self.id, || trace::Block::Gone);
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
        state.chosen = Some(id);
        state.forget_bus_master();
        trace::attach(self.dev(), self.id, id.as_u32());
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
        caller: Caller,
    ) -> Result<Blocked, NotBlocked> {
        if state.is_replaced() {
            return Ok(Blocked::Replaced);
        }
        match caller {
            Caller::Core => {
                state.switch_ats_off();
            }
            Caller::Flush => state.silence_ats(),
        }
        let result = block(self.id, blocking);
        // When that has failed, nothing but the device itself is left to be told.
        match caller {
            _ if result.is_ok() => state.forget_bus_master(),
            Caller::Core => bus_master::stop(&self.pdev),
            Caller::Flush => {
                bus_master::stop_at_once(&self.pdev);
                state.unsettled = Unsettled::BusMaster;
            }
        }
        trace::block(self.dev(), self.id, || match result {
            Ok(Blocked::Attached) => trace::Block::Attached,
            Ok(Blocked::Detached) => trace::Block::Detached,
            Ok(Blocked::Gone | Blocked::Replaced) => trace::Block::Gone,
            Err(_) => trace::Block::Failed,
        });
        result
    }
}

/// Asks whether the guest may attach a device; again, a few times, when the host could not say.
///
/// Context: may sleep.
#[inline(never)]
fn ask(id: LogicalDeviceId) -> Result<DeviceIommu, HypercallError> {
    retried(
        || calls::get_device_iommu(id),
        |failure| readings::device_answer(failure) == DeviceAnswer::CouldNotSay,
    )
}

/// Calls `f`, and again after each of [`PAUSES`] as long as it fails in a way that may pass.
///
/// Context: may sleep.
fn retried<T, E: Copy>(f: impl Fn() -> Result<T, E>, may_pass: impl Fn(E) -> bool) -> Result<T, E> {
    let mut result = f();
    for pause in PAUSES {
        match result {
            Err(error) if may_pass(error) => {}
            _ => break,
        }
        fsleep(Delta::from_millis(pause));
        result = f();
    }
    result
}

/// The function's ATS, if it has that, ready to be switched on. Not made ready after a crash: that would
/// switch ATS off, which the device may be using.
fn usable_ats(pdev: &pci::Device) -> Option<Ats> {
    let mut ats = Ats::of(pdev)?;
    if readings::follows_a_crash() {
        return Some(ats);
    }
    match ats.prepare(TranslationUnit::Size4K) {
        Ok(()) => Some(ats),
        Err(error) => {
            dev_warn!(pdev, "IOMMU: no ATS: errno {}\n", error.to_errno());
            None
        }
    }
}

impl State {
    /// Whether the host was seen to have taken the device away.
    fn is_gone(&self) -> bool {
        matches!(
            self.place,
            Place::Blocked(Blocked::Gone | Blocked::Replaced)
        )
    }

    /// Whether no call may name the device.
    pub(super) fn is_replaced(&self) -> bool {
        self.place == Place::Blocked(Blocked::Replaced)
    }

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

    /// The same in any context; something may be left to process context.
    fn silence_ats(&mut self) {
        if self.ats.as_mut().is_some_and(Ats::silence) && self.unsettled == Unsettled::Nothing {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// The device is where it should be, whatever was told to itself before.
    fn forget_bus_master(&mut self) {
        if self.unsettled == Unsettled::BusMaster {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// Does what was left to process context, as far as it still applies.
    fn settle(&mut self, pdev: &pci::Device) {
        let left = mem::replace(&mut self.unsettled, Unsettled::Nothing);
        if left == Unsettled::Nothing {
            return;
        }
        // An attach since then has put it right, and may have switched ATS on.
        if let Some(ats) = self.ats.as_mut().filter(|ats| ats.is_silenced()) {
            ats.switch_off();
        }
        if left == Unsettled::BusMaster {
            bus_master::stop(pdev);
        }
    }
}
