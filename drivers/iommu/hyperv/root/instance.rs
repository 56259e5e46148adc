// SPDX-License-Identifier: GPL-2.0

//! The one IOMMU of the partition, and how domains are made and deleted.

use super::{
    calls,
    capabilities::{
        Capabilities,
        HostReport, //
    },
    device_domain::{
        CreateDeviceDomain,
        DeleteDeviceDomain, //
    },
    domain_name::{
        Base,
        DomainName,
        DomainNames, //
    },
    function::{
        Function,
        Functions, //
    },
    memory::Supply,
    places::{
        self,
        Closed,
        Handover,
        Holder,
        Presence,
        Survey, //
    },
    put_error::PutError,
    readings::{
        self,
        NumberAnswer, //
    },
    record::Record,
    requesters::{
        self,
        OwnRequester, //
    },
    sample::Address,
    switch::HypervisorSwitch, //
};
use kernel::{
    hyperv::{
        hypercall::Call,
        pci_device::PciDeviceId,
        status::HypercallError, //
    },
    list::ListArc,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering::Relaxed,
            AtomicFlag, //
        },
        new_spinlock_irq,
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    },
};

/// Which attempt to empty a closed domain it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// A device could not be blocked before.
    Later,
}

/// The IOMMU.
#[pin_data]
pub(crate) struct Instance {
    report: HostReport,
    capabilities: Capabilities,
    #[pin]
    names: DomainNames,
    /// All domains that the hypervisor has, or may have.
    #[pin]
    domains: Mutex<RBTree<DomainName, Arc<Record>>>,
    /// All requesters of devices that were probed and not released, and released ones that are not
    /// gone. The lock is held over the calls that change their places, so the places never lag
    /// behind the hypervisor.
    #[pin]
    requesters: SpinLockIrq<KVec<OwnRequester>>,
    /// Its lock is taken inside of that of the requesters.
    #[pin]
    functions: Functions,
    #[pin]
    supply: Supply,
    /// The IOMMU is registered.
    in_service: AtomicFlag,
    /// The next kernel takes over: nothing may be attached, created or mapped. Raised with the
    /// requesters locked.
    left: AtomicFlag,
}

/// Set before the IOMMU is registered, and never changed.
static INSTANCE: SetOnce<Pin<KBox<Instance>>> = SetOnce::new();

impl Instance {
    /// The IOMMU.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: there is none.
    pub(crate) fn get() -> Result<&'static Instance> {
        INSTANCE.as_ref().map(|instance| &**instance).ok_or(ENODEV)
    }

    /// Sets the IOMMU up.
    ///
    /// Context: may sleep; called once.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EEXIST`]: it is set up already.
    pub(crate) fn set_up(
        report: HostReport,
        capabilities: Capabilities,
    ) -> Result<&'static Instance> {
        let base = if readings::follows_a_crash() {
            Base::High
        } else {
            Base::Low
        };
        let instance = KBox::pin_init(
            pin_init!(Instance {
                report,
                capabilities,
                names <- DomainNames::new(base),
                domains <- new_mutex!(RBTree::new()),
                requesters <- new_spinlock_irq!(KVec::new()),
                functions <- Functions::new(),
                supply <- Supply::new(),
                in_service: AtomicFlag::new(false),
                left: AtomicFlag::new(false),
            }),
            GFP_KERNEL,
        )?;
        if !INSTANCE.populate(instance) {
            return Err(EEXIST);
        }
        Instance::get().inspect(|instance| instance.supply.fill_reserve())
    }

    pub(crate) fn report(&self) -> &HostReport {
        &self.report
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the driver gives to the hypervisor.
    pub(crate) fn supply(&self) -> &Supply {
        &self.supply
    }

    /// Notes that the IOMMU is registered.
    pub(crate) fn enter_service(&self) {
        self.in_service.store(true, Relaxed);
    }

    /// Whether the IOMMU is registered. Before that, the core takes in the devices that it finds.
    pub(crate) fn is_in_service(&self) -> bool {
        self.in_service.load(Relaxed)
    }

    /// Whether the next kernel takes over, so that nothing may be mapped.
    ///
    /// Context: any.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// Where the tree of domains and the vector of requesters are, for a reader of a crash dump.
    ///
    /// Context: may sleep.
    pub(crate) fn addresses(&self) -> (Address, Address) {
        let domains = Address::of(&*self.domains.lock());
        (domains, Address::of(&*self.requesters.lock()))
    }

    /// Makes a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`], or the errno of the hypervisor's refusal, with a message.
    /// [`ENODEV`]: the next kernel takes over.
    pub(crate) fn make_domain(&self) -> Result<Arc<Record>> {
        if self.is_left() {
            return Err(ENODEV);
        }
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let name = self.create()?;
        let record = match Record::new(name) {
            Ok(record) => record,
            Err(error) => {
                if self.delete(name) {
                    self.names.give_back(name);
                }
                return Err(error);
            }
        };
        let mut domains = self.domains.lock();
        // The handover raises the flag first, and then locks and deletes the domains. So it either
        // sees this domain, or the flag is seen here.
        if self.is_left() {
            drop(domains);
            self.delete(name);
            return Err(ENODEV);
        }
        domains.insert(node.into_node(name, record.clone()));
        drop(domains);
        Ok(record)
    }

    /// Creates a domain with the lowest number that the hypervisor accepts.
    fn create(&self) -> Result<DomainName> {
        let (mut taken, mut doubtful) = (0, 0);
        loop {
            let name = self.names.take()?;
            let created = self
                .supply
                .with_deposits(GFP_KERNEL, || calls::create(name));
            // Without memory, the hypervisor has not created the domain.
            let created = created.inspect_err(|_| self.names.give_back(name))?;
            let Err(failure) = created else {
                return Ok(name);
            };
            // A number that may belong to a domain is not given back.
            let try_another = match readings::number_answer(failure) {
                NumberAnswer::Taken => {
                    taken += 1;
                    taken < readings::TAKEN_MAX
                }
                NumberAnswer::Unclear => {
                    doubtful += 1;
                    doubtful < readings::DOUBTFUL_MAX
                }
                NumberAnswer::Irrelevant => {
                    if readings::has_no_effect(failure) {
                        self.names.give_back(name);
                    }
                    false
                }
            };
            if !try_another {
                pr_err!("{} of {name}: {failure}\n", CreateDeviceDomain::NAME);
                return Err(failure.into());
            }
        }
    }

    /// Gives up a domain that the kernel no longer uses. If the hypervisor has no use for it
    /// either, it is deleted; otherwise its record and its number stay for ever.
    ///
    /// Context: may sleep.
    pub(crate) fn give_up_domain(&self, record: &Arc<Record>) {
        if record.is_stand_in() {
            return;
        }
        let name = record.name();
        let left = places::count_in(&self.requesters.lock(), name);
        if left > 0 {
            record.retire();
            pr_err!("domain {name} stays: {left} requester ids may be in it\n");
        } else if record.is_deleted() || self.delete(name) {
            let removed = self.domains.lock().remove_node(&name);
            drop(removed);
            // Only after the removal: the next domain of this number enters a record of its own.
            self.names.give_back(name);
        } else {
            record.retire();
        }
    }

    /// Deletes a domain, with a message if that fails. Returns whether the hypervisor has forgotten
    /// it, so that its number can be given back.
    fn delete(&self, name: DomainName) -> bool {
        match calls::delete(name) {
            Ok(()) => true,
            Err(failure) => {
                pr_err!("{} of {name}: {failure}\n", DeleteDeviceDomain::NAME);
                false
            }
        }
    }

    /// Enters a function, and its requesters.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn enter(&self, function: ListArc<Function>) -> Result {
        requesters::enter(&self.requesters, function.ids())?;
        self.functions.add(function);
        Ok(())
    }

    /// Releases a function and its requesters; see [`places::release`].
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// A requester that no other device has may still do DMA.
    pub(crate) fn release(&self, function: &Function) -> Result<(), HypercallError> {
        let mut requesters = self.requesters.lock();
        let result = places::release(&HypervisorSwitch, &mut requesters, function.ids());
        // A blocked requester stays in the list: at shutdown it goes back to where it was found.
        requesters.retain(|r| r.users > 0 || r.place != places::Place::Gone);
        drop(requesters);
        self.functions.remove(function);
        result
    }

    /// Puts a device with these requesters into a domain, unless `may_enter` says, with the lock
    /// held, that none may enter. `holder` uses the device afterwards.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// Why the device may not enter, or why the hypervisor refused; see [`places::put`].
    pub(crate) fn put(
        &self,
        ids: &[PciDeviceId],
        name: DomainName,
        holder: Holder,
        may_enter: impl Fn() -> bool,
    ) -> Result<Presence, PutError> {
        self.put_if(ids, name, holder, |_| {
            if self.is_left() {
                Err(PutError::Left)
            } else if may_enter() {
                Ok(())
            } else {
                Err(PutError::Closed)
            }
        })
    }

    /// As [`Self::put`], if `admit` agrees. `admit` sees all requesters, with the lock held.
    fn put_if(
        &self,
        ids: &[PciDeviceId],
        name: DomainName,
        holder: Holder,
        admit: impl Fn(&[OwnRequester]) -> Result<(), PutError>,
    ) -> Result<Presence, PutError> {
        let result = self.supply.with_deposits(GFP_KERNEL, || {
            let mut requesters = self.requesters.lock();
            match admit(&requesters) {
                Ok(()) => {
                    places::put(&HypervisorSwitch, &mut requesters, ids, name, holder).map(Ok)
                }
                Err(error) => Ok(Err(error)),
            }
        });
        match result {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(failure)) => Err(PutError::Refused(failure)),
            Err(error) => Err(PutError::NoMemory(error)),
        }
    }

    /// Blocks a device with these requesters. `holder` uses the device.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// At least one requester may still do DMA.
    pub(crate) fn block(&self, ids: &[PciDeviceId], holder: Holder) -> Result<(), HypercallError> {
        places::block(&HypervisorSwitch, &mut self.requesters.lock(), ids, holder)
    }

    /// Whether the hypervisor has deleted a domain, and all mappings in it, that the kernel may
    /// still use.
    ///
    /// Context: any.
    pub(crate) fn has_deleted(&self, record: &Record) -> bool {
        // `delete_empty_domains` holds the lock from the call until it has raised the flag.
        let _requesters = self.requesters.lock();
        record.is_deleted()
    }

    /// Blocks everything that is in a domain, and lets nothing in after that. [`None`] if that has
    /// emptied the domain before. Where a requester could not be blocked, its devices' bus
    /// mastering is switched off. The next caller tries again, as each of them uses memory for
    /// something else that the requester may reach.
    ///
    /// Context: any.
    pub(crate) fn close(&self, record: &Record) -> Option<(Attempt, Closed)> {
        let mut requesters = self.requesters.lock();
        // Both flags are read and written with the lock held, as by whoever enters a domain.
        if record.is_emptied() {
            return None;
        }
        let attempt = if record.close() {
            Attempt::First
        } else {
            Attempt::Later
        };
        let closed = places::close(&HypervisorSwitch, &mut requesters, record.name());
        if closed.left == 0 {
            record.note_emptied();
        } else {
            let name = record.name();
            self.functions
                .stop_at_once(|ids| places::is_device_in(&requesters, ids, name));
        }
        Some((attempt, closed))
    }

    /// Calls `f` for each domain, in the order of their numbers, until `f` fails.
    ///
    /// Context: may sleep.
    pub(crate) fn each_domain<E>(&self, f: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        self.domains.lock().values().map(|r| &**r).try_for_each(f)
    }

    /// The requester at an index; [`None`] if there are not so many. Others may come and go
    /// meanwhile.
    ///
    /// Context: any.
    pub(crate) fn requester(&self, index: usize) -> Option<OwnRequester> {
        self.requesters.lock().get(index).copied()
    }

    /// Notes that the next kernel takes over. Nothing can be attached, created or mapped after
    /// this.
    ///
    /// Context: any.
    pub(crate) fn leave(&self) {
        // Whoever enters a domain looks at the flag with the lock held.
        let _requesters = self.requesters.lock();
        self.left.store(true, Relaxed);
    }

    /// Puts all requesters where the next kernel expects them, as far as possible, and counts those
    /// that are elsewhere. [`Self::leave`] must have been called.
    ///
    /// Context: may sleep.
    pub(crate) fn hand_over_requesters(&self) -> Survey {
        // From the end: a requester that is removed meanwhile moves only those that were visited.
        let mut index = self.requesters.lock().len();
        while let Some(next) = index.checked_sub(1) {
            index = next;
            if let Some(requester) = self.requester(index) {
                self.hand_over(requester.id);
            }
        }
        places::survey::<HypervisorSwitch>(&self.requesters.lock())
    }

    /// Deletes all domains that no device is in, even if the kernel still uses them.
    /// [`Self::leave`] must have been called.
    ///
    /// Context: may sleep.
    pub(crate) fn delete_empty_domains(&self) {
        let _ = self.each_domain(|record| {
            // `has_deleted` takes the same lock: whoever failed to unmap sees the flag after this.
            let requesters = self.requesters.lock();
            let is_empty = places::count_in(&requesters, record.name()) == 0;
            if is_empty && calls::delete(record.name()).is_ok() {
                record.note_deleted();
            }
            Ok::<(), Error>(())
        });
    }

    /// Puts a requester where the next kernel expects it, or else blocks it.
    fn hand_over(&self, id: PciDeviceId) {
        let what = |all: &[OwnRequester]| all.iter().find(|r| r.id == id).map(|r| r.handover());
        // A program may have taken the device meanwhile, so this is decided with the lock held.
        let put = self.put_if(
            &[id],
            DomainName::IDENTITY,
            Holder::Kernel,
            |all| match what(all) {
                Some(Handover::ToIdentity) => Ok(()),
                _ => Err(PutError::Left),
            },
        );
        let mut requesters = self.requesters.lock();
        let holder = match what(&requesters) {
            Some(Handover::Blocked) => Holder::Other,
            Some(Handover::ToIdentity) if put.is_err() => Holder::Kernel,
            _ => return,
        };
        // The survey counts it if this fails.
        let _ = places::block(&HypervisorSwitch, &mut requesters, &[id], holder);
    }
}
