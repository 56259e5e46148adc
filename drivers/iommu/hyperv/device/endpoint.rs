// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    block::{
        block,
        block_detached,
        is_gone,
        report,
        report_gone,
        Before,
        Blocked,
        NotBlocked, //
    },
    entry::{
        self,
        NotEntered, //
    },
    let_go::Left,
    protocol::{
        self,
        Answer,
        Attached,
        Caller, //
    },
    serial::Serial,
    state::{
        Place,
        State, //
    }, //
};
use crate::{
    host::{
        capabilities::AtsSupport,
        domain_ids::DomainId,
        layouts::AttachDeviceDomain,
        message::{
            say,
            Level,
            Word, //
        },
        trace, //
    },
    known::domains::Domains, //
};
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
        bus_master,
        present::{
            Present,
            PresentDevice, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::AtomicFlag,
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// Whether the hypervisor lets the guest attach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The hypervisor said so.
    Granted,
    /// The hypervisor could not say. The device may only be blocked, because nobody would control
    /// its DMA otherwise.
    Unknown,
}

/// Whether the device may use ATS while it is in a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TranslatedRequests {
    /// It may ask for translations and use them later, if both the device and the IOMMU can.
    Allowed,
    /// It may not. No document says that a domain without a table answers such requests, nor that
    /// it lets through only what it answered.
    Forbidden,
}

/// A device.
#[pin_data]
pub(crate) struct Endpoint {
    pdev: PresentDevice,
    id: LogicalDeviceId,
    serial: Serial,
    admission: Admission,
    /// The lock is held over each hypercall that changes the state, so the state never lags behind
    /// the hypervisor.
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
    /// A new device, which was neither attached nor blocked yet. Prepares its ATS.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(
        pdev: &PresentDevice,
        id: LogicalDeviceId,
        serial: Serial,
        admission: Admission,
        ats: AtsSupport,
    ) -> Result<ListArc<Endpoint>> {
        ListArc::pin_init(
            try_pin_init!(Endpoint {
                pdev: pdev.clone(),
                id,
                serial,
                admission,
                state <- new_spinlock_irq!(State::new(pdev, ats)),
                links <- ListLinks::new(),
                work <- new_work!("Endpoint::work"),
            }),
            GFP_KERNEL,
        )
    }

    /// The device.
    pub(crate) fn dev(&self) -> &device::Device {
        self.pdev.function().as_ref()
    }

    /// The PCI function that it is.
    pub(crate) fn pdev(&self) -> &PresentDevice {
        &self.pdev
    }

    /// The hypervisor's name for it.
    pub(crate) fn id(&self) -> LogicalDeviceId {
        self.id
    }

    /// Its place in the order of the list of devices.
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
    pub(crate) fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock())
    }

    /// As [`Self::with_state`], but waits for no lock: nothing else runs.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a task was stopped while it changed the state.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn with_state_at_rest<R>(&self, f: impl FnOnce(&mut State) -> R) -> Result<R> {
        let mut state = self.state.try_lock().ok_or(EBUSY)?;
        Ok(f(&mut state))
    }

    /// Where the device is left if the kernel lets go of it now. [`None`] if it needs no care: it
    /// is gone, or in no domain.
    pub(super) fn left(&self) -> Option<Left> {
        match self.state.lock().place {
            Place::Blocked(Blocked::Attached) => Some(Left::Blocked),
            Place::Blocked(_) => None,
            Place::Initial | Place::In(_) => Some(Left::Loose),
        }
    }

    /// Whether the host was seen to have taken the device away. There was a message about that
    /// then.
    #[inline(never)]
    fn is_gone(&self) -> bool {
        self.state.lock().is_gone()
    }

    /// Makes way for another device of the same id. If the host has taken this device away, no call
    /// names it from now on. Returns whether that is so.
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
        self.state.lock().has_ats()
    }

    /// Whether the hypervisor lets the guest attach the device.
    pub(crate) fn admission(&self) -> Admission {
        self.admission
    }

    /// Puts the device into a domain, in place of the one it is in, unless the domain or all
    /// domains are closed. Failures are reported by messages.
    ///
    /// Context: may sleep; the core serialises this for one device.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], [`ENOMEM`]. The device then is where it was. If it may be elsewhere, and cannot
    /// be put back, it is blocked.
    #[inline(never)]
    pub(crate) fn attach(
        &self,
        id: DomainId,
        requests: TranslatedRequests,
        demand: Demand,
        stale: Option<&AtomicFlag>,
        domains: &Domains,
    ) -> Result {
        if self.admission == Admission::Unknown {
            return Err(ENODEV);
        }
        let was_gone = self.is_gone();
        let blocking = domains.blocking();
        let closed_by = [domains.closed(), stale.unwrap_or(domains.closed())];
        match protocol::attach(self, id, requests, &closed_by, blocking) {
            Attached::Yes(Ok(())) => Ok(()),
            Attached::Yes(Err(error)) => {
                let words = [Word::Errno(error)];
                say(
                    Level::Warn,
                    Some(self.dev()),
                    "ATS stays off: errno %",
                    &words,
                );
                Ok(())
            }
            Attached::Refused => Err(ENODEV),
            Attached::StaysBlocked => {
                let text = "stays blocked, domain % is not to be used any more";
                say(Level::Warn, Some(self.dev()), text, &[Word::Domain(id)]);
                // A blocked device is as safe as a refused one. The core cannot handle a refusal
                // when it puts the device back where it was, after a reset. The driver cannot tell
                // that from a program that takes the device out of the domain and puts it back, so
                // that is not refused, either.
                if demand == Demand::Mandatory || self.state.lock().was_chosen(id) {
                    Ok(())
                } else {
                    Err(ENODEV)
                }
            }
            Attached::Gone => {
                // The device can do no DMA, and its driver will notice that it is gone.
                if !was_gone {
                    report_gone(self.dev());
                }
                Ok(())
            }
            Attached::Failed(failure) => Err(self.report_failure(id, failure, "")),
            Attached::Unclear(failure, blocked) => {
                // `report` wrote a message of its own if the device could not be blocked.
                let end = report(self.dev(), blocked).map_or("", |()| "; DMA is blocked");
                Err(self.report_failure(id, failure, end))
            }
        }
    }

    /// Writes a message about an attach that has failed. Returns the errno for the core.
    #[cold]
    fn report_failure(&self, id: DomainId, failure: HypercallError, end: &'static str) -> Error {
        let words = [
            Word::Text(&AttachDeviceDomain::NAME),
            Word::Domain(id),
            Word::Failure(failure),
            Word::Text(&end),
        ];
        say(Level::Err, Some(self.dev()), "% to domain %: %%", &words);
        match Error::from(failure) {
            ENOMEM => ENOMEM,
            _ => ENODEV,
        }
    }

    /// Keeps the device from doing DMA. There is a message if it is not in the blocking domain
    /// then.
    ///
    /// Context: may sleep; the core serialises this for one device.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the IOMMU may still let the device do DMA. The device's own register keeps it off
    /// the bus, until its driver writes to that register.
    #[inline(never)]
    pub(crate) fn block(&self, domains: &Domains) -> Result {
        let was_gone = self.is_gone();
        match protocol::block(self, domains.want_blocking()) {
            Ok(Blocked::Gone | Blocked::Replaced) if was_gone => Ok(()),
            result => report(self.dev(), result),
        }
    }

    /// Whether a failed flush has left work for process context.
    ///
    /// Context: any.
    #[inline(never)]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.state.lock().is_unsettled()
    }

    /// Restores what a failed flush left, and gives up ATS. Nothing is done to the device after
    /// this.
    ///
    /// Context: may sleep; the core serialises this for one device.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        state.settle(&self.pdev);
        state.switch_ats_off();
        let ats = state.take_ats();
        drop(state);
        drop(ats);
    }
}

/// Does in process context what a failed flush could not do.
impl WorkItem for Endpoint {
    type Pointer = Arc<Endpoint>;

    #[inline]
    fn run(this: Arc<Endpoint>) {
        lock::with_locked(this.dev(), || this.state.lock().settle(&this.pdev));
    }
}

impl protocol::Device for Endpoint {
    type Domain = DomainId;
    type Blocked = Blocked;
    type NotBlocked = NotBlocked;
    type Requests = TranslatedRequests;
    /// Whether ATS, if the domain allows it, could be switched on.
    type Entered = Result;
    type Failure = HypercallError;
    type State = State;

    #[inline]
    fn locked<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock())
    }

    #[inline]
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
        match entry::enter(self.id, state, id) {
            Ok(()) => {}
            Err(NotEntered::Stays(failure)) if is_gone(self.id, failure) => {
                state.choose(id);
                trace::block(self.dev(), self.id, || trace::Block::Gone);
                return Answer::Gone(Blocked::Gone);
            }
            Err(NotEntered::Lost(failure)) => return Answer::Unclear(failure),
            Err(NotEntered::Stays(failure)) => {
                if had_ats {
                    // ATS was on before, so this cannot fail.
                    let _ = state.switch_ats_on();
                }
                return Answer::Failed(failure);
            }
        }
        state.choose(id);
        state.forget_bus_master();
        trace::attach(self.dev(), self.id, id.as_u32());
        Answer::Entered(match requests {
            TranslatedRequests::Allowed => state.switch_ats_on(),
            TranslatedRequests::Forbidden => Ok(()),
        })
    }

    /// Has the IOMMU block the device; if that fails, writes to the device's own registers. Writes
    /// no message.
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
        let result = match state.place {
            Place::Blocked(Blocked::Detached) => Ok(block_detached(self.id, blocking)),
            Place::Blocked(Blocked::Attached) => block(self.id, blocking, Before::Blocked),
            _ => block(self.id, blocking, Before::Elsewhere),
        };
        // When the IOMMU could not block the device, only the device itself is left to be told.
        match caller {
            _ if result.is_ok() => state.forget_bus_master(),
            Caller::Core => bus_master::stop(&self.pdev),
            Caller::Flush => {
                bus_master::stop_at_once(&self.pdev);
                state.leave_bus_master();
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
