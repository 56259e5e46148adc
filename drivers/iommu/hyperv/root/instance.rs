// SPDX-License-Identifier: GPL-2.0

//! The one IOMMU of the partition, and the life of domains in it.
//!
//! All that the driver knows hangs on one structure, which never moves and begins with a mark: so
//! that what a crashed kernel knew can be read from its memory alone.

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
    memory,
    places::{
        self,
        Closed,
        Requester, //
    },
    readings::{
        self,
        NumberAnswer, //
    },
    record::Record,
    switch::HypervisorSwitch, //
};
use kernel::{
    hyperv::{
        hypercall::Call,
        pci_device::PciDeviceId,
        status::HypercallError, //
    },
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        new_spinlock_irq,
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    },
};

/// The mark at the beginning of the structure, for whoever searches a crashed kernel's memory.
const MAGIC: [u8; 16] = *b"hv_root_iommu\0\0\x01";

/// How many numbers in a row may turn out to be taken: those of a previous kernel's domains, which
/// outlive it.
const MAX_TAKEN: usize = 4096;

/// How many numbers are tried for one domain when the hypervisor refuses each with a status that
/// may be about the number.
const MAX_DOUBTFUL: usize = 8;

/// A requester of the partition's.
pub(crate) type OwnRequester = Requester<PciDeviceId, DomainName>;

/// The IOMMU.
#[pin_data]
#[repr(C)]
pub(crate) struct Instance {
    _magic: [u8; 16],
    report: HostReport,
    capabilities: Capabilities,
    #[pin]
    names: DomainNames,
    /// Every domain that the hypervisor has, or may have.
    #[pin]
    domains: Mutex<RBTree<DomainName, Arc<Record>>>,
    /// Every requester of a device that was probed and not released, or could not be blocked when
    /// it was. Held over the calls that change places, so that these never lag behind the
    /// hypervisor.
    #[pin]
    requesters: SpinLockIrq<KVec<OwnRequester>>,
}

/// Set before the IOMMU is registered, never changed.
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

    /// Makes it.
    ///
    /// Context: may sleep; once.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EEXIST`]: there is one.
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
                _magic: MAGIC,
                report,
                capabilities,
                names <- DomainNames::new(base),
                domains <- new_mutex!(RBTree::new()),
                requesters <- new_spinlock_irq!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;
        if !INSTANCE.populate(instance) {
            return Err(EEXIST);
        }
        Instance::get()
    }

    pub(crate) fn report(&self) -> &HostReport {
        &self.report
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Makes a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`], or what stands for the hypervisor's refusal, about which there is a
    /// message.
    pub(crate) fn make_domain(&self) -> Result<Arc<Record>> {
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
        self.domains
            .lock()
            .insert(node.into_node(name, record.clone()));
        Ok(record)
    }

    /// Has the hypervisor create a domain, of the first number that it takes.
    fn create(&self) -> Result<DomainName> {
        let (mut taken, mut doubtful) = (0, 0);
        loop {
            let name = self.names.take()?;
            let created = memory::with_deposits(GFP_KERNEL, || calls::create(name));
            // The hypervisor got no memory: it has no such domain.
            let created = created.inspect_err(|_| self.names.give_back(name))?;
            let Err(failure) = created else {
                return Ok(name);
            };
            // A number that may be a domain's is not given back.
            let try_another = match readings::number_answer(failure) {
                NumberAnswer::Taken => {
                    taken += 1;
                    taken < MAX_TAKEN
                }
                NumberAnswer::Unclear => {
                    doubtful += 1;
                    doubtful < MAX_DOUBTFUL
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

    /// The kernel has done with a domain. When the hypervisor has, too, it is forgotten; otherwise
    /// its record stays for ever, and so does its number.
    ///
    /// Context: may sleep.
    pub(crate) fn give_up_domain(&self, record: &Arc<Record>) {
        let name = record.name();
        let left = places::count_in(&self.requesters.lock(), name);
        if left > 0 {
            record.retire();
            pr_err!("domain {name} stays: {left} devices may be in it\n");
        } else if self.delete(name) {
            let removed = self.domains.lock().remove_node(&name);
            drop(removed);
            // Not before: whoever is given the number enters a record of his own.
            self.names.give_back(name);
        } else {
            record.retire();
        }
    }

    /// Deletes a domain. Whether the hypervisor has forgotten it, so that its number can be given
    /// back.
    fn delete(&self, name: DomainName) -> bool {
        match calls::delete(name) {
            Ok(()) => true,
            Err(failure) => {
                pr_err!("{} of {name}: {failure}\n", DeleteDeviceDomain::NAME);
                false
            }
        }
    }

    /// Enters a device's requesters.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn enter(&self, ids: &[PciDeviceId]) -> Result {
        let mut room = KVec::new();
        let mut requesters = loop {
            let requesters = self.requesters.lock();
            let wanted = requesters.len() + ids.len();
            if requesters.capacity() >= wanted || room.capacity() >= wanted {
                break requesters;
            }
            drop(requesters);
            room = KVec::with_capacity(2 * wanted, GFP_KERNEL)?;
        };
        if requesters.capacity() < room.capacity() {
            for requester in requesters.iter() {
                let _ = room.push_within_capacity(*requester);
            }
            core::mem::swap(&mut *requesters, &mut room);
        }
        for id in ids {
            match requesters.iter_mut().find(|r| r.id == *id) {
                Some(requester) => requester.enter(),
                None => {
                    let _ = requesters.push_within_capacity(Requester::new(*id));
                }
            }
        }
        // The old memory is freed when the lock is free.
        drop(requesters);
        drop(room);
        Ok(())
    }

    /// A device with these requesters goes; see [`places::release`].
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// One of them, or more, may still do DMA, and no other device has it.
    pub(crate) fn release(&self, ids: &[PciDeviceId]) -> Result<(), HypercallError> {
        let mut requesters = self.requesters.lock();
        let result = places::release(&HypervisorSwitch, &mut requesters, ids);
        // One that stays blocked is remembered: at shutdown it goes back to where it was found.
        requesters.retain(|r| r.users > 0 || r.place != places::Place::Gone);
        result
    }

    /// Puts a device with these requesters into a domain, unless `may_enter` says, with the lock
    /// held, that none may enter.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EIO`]: none may enter. Else what stands for the hypervisor's refusal, or keeps memory from
    /// it; see [`places::put`].
    pub(crate) fn put(
        &self,
        ids: &[PciDeviceId],
        name: DomainName,
        may_enter: impl Fn() -> bool,
    ) -> Result<(), PutError> {
        let result = memory::with_deposits(GFP_KERNEL, || {
            let mut requesters = self.requesters.lock();
            if !may_enter() {
                return Ok(false);
            }
            places::put(&HypervisorSwitch, &mut requesters, ids, name).map(|()| true)
        });
        match result {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(PutError::Closed),
            Ok(Err(failure)) => Err(PutError::Refused(failure)),
            Err(error) => Err(PutError::NoMemory(error)),
        }
    }

    /// Blocks a device with these requesters.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// One of them, or more, may still do DMA.
    pub(crate) fn block(&self, ids: &[PciDeviceId]) -> Result<(), HypercallError> {
        places::block(&HypervisorSwitch, &mut self.requesters.lock(), ids)
    }

    /// Blocks everything that is in a domain; nothing is let in any more.
    ///
    /// Context: any.
    pub(crate) fn close(&self, record: &Record) -> Option<Closed> {
        let mut requesters = self.requesters.lock();
        // Whoever enters looks at the flag with the lock held.
        if !record.close() {
            return None;
        }
        Some(places::close(
            &HypervisorSwitch,
            &mut requesters,
            record.name(),
        ))
    }

    /// Calls `f` for each domain, by number, until it fails.
    ///
    /// Context: may sleep.
    pub(crate) fn each_domain<E>(&self, f: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        self.domains.lock().values().map(|r| &**r).try_for_each(f)
    }

    /// The requester with an index, if there are so many. Others may come and go meanwhile.
    ///
    /// Context: any.
    pub(crate) fn requester(&self, index: usize) -> Option<OwnRequester> {
        self.requesters.lock().get(index).copied()
    }

    /// Gives everything back to the hypervisor, as the next kernel expects it: devices to identity,
    /// where they were found, and the domains. What cannot be had back is blocked.
    ///
    /// Context: may sleep; when devices do no DMA any more.
    pub(crate) fn shut_down(&self) {
        let mut index = 0;
        while let Some(requester) = self.requester(index) {
            index += 1;
            let ids = [requester.id];
            let is_as_found =
                requester.place == places::Place::Initial && requester.doubt == places::Doubt::None;
            if !is_as_found && self.put(&ids, DomainName::IDENTITY, || true).is_err() {
                let _ = self.block(&ids);
            }
        }
        let _ = self.each_domain(|record| {
            let is_empty = places::count_in(&self.requesters.lock(), record.name()) == 0;
            if is_empty {
                let _ = calls::delete(record.name());
            }
            Ok::<(), Error>(())
        });
    }
}

/// Why a device is not in the domain that was asked for.
#[derive(Clone, Copy)]
pub(crate) enum PutError {
    /// The domain is closed.
    Closed,
    /// The hypervisor refused.
    Refused(HypercallError),
    /// It wants memory, which could not be given.
    NoMemory(Error),
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Error {
        match error {
            PutError::Closed => EIO,
            PutError::Refused(failure) => failure.into(),
            PutError::NoMemory(error) => error,
        }
    }
}
