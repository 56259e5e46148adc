// SPDX-License-Identifier: GPL-2.0

//! The one IOMMU of the partition, and the life of domains in it.

use super::{
    aperture::{
        Aperture,
        Levels, //
    },
    calls,
    capabilities::{
        AtsSupport,
        Capabilities,
        HostReport, //
    },
    device_domain::{
        ConfigureDeviceDomain,
        CreateDeviceDomain,
        DeleteDeviceDomain, //
    },
    domain_ids::{
        Base,
        DomainId,
        DomainIds, //
    },
    domain_list::DomainList,
    endpoint::Endpoint,
    flush::ListFlush,
    protocol::{
        self,
        Flag,
        GivenUp,
        Tally, //
    },
    readings::{
        self,
        NumberAnswer, //
    },
    translation::Translation, //
};
use kernel::{
    fmt,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    list::{
        List,
        ListArc, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Relaxed,
                Release, //
            },
            Atomic,
            AtomicFlag, //
        },
        new_spinlock_irq,
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue, //
};

/// How many numbers in a row may turn out to be taken: those of a previous kernel's domains, which
/// outlive it.
const MAX_TAKEN: usize = 4096;

/// How many numbers are tried for one domain when the hypervisor refuses each with a status that may
/// be about the number.
const MAX_DOUBTFUL: usize = 8;

/// The IOMMU.
#[pin_data]
pub(crate) struct Instance {
    report: HostReport,
    capabilities: Capabilities,
    #[pin]
    ids: DomainIds,
    #[pin]
    domains: DomainList,
    /// The domain that lets nothing through; devices are detached instead when there is none.
    blocking: SetOnce<DomainId>,
    /// The domain that translates nothing; devices cannot be attached to it when there is none.
    identity: SetOnce<DomainId>,
    /// Held while one of the two is made.
    #[pin]
    making: Mutex<()>,
    list_flush: ListFlush,
    /// The host has refused a 5-level table.
    no_five_levels: AtomicFlag,
    /// The system shuts down, or sleeps: devices are only blocked any more.
    shut_down: AtomicFlag,
    /// Every device that was probed and not released, in the order of their serial numbers.
    #[pin]
    endpoints: SpinLockIrq<List<Endpoint>>,
    /// The last serial number of a device.
    serials: Atomic<u64>,
    /// Searches of the list that are under way.
    searches: Atomic<usize>,
}

/// Where a device stands in the list: later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    const BEFORE_ALL: Serial = Serial(0);
}

/// Set before the IOMMU is registered, never changed.
static INSTANCE: SetOnce<Pin<KBox<Instance>>> = SetOnce::new();

impl Instance {
    /// The IOMMU.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] before it is set up.
    pub(crate) fn get() -> Result<&'static Instance> {
        INSTANCE.as_ref().map(|instance| &**instance).ok_or(ENODEV)
    }

    /// Sets the IOMMU up: makes its static domains.
    ///
    /// Context: may sleep; once.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. That a domain cannot be had is no error: devices are then detached to block
    /// them, or cannot be attached to identity, and a message says so.
    pub(crate) fn set_up(
        report: HostReport,
        capabilities: Capabilities,
    ) -> Result<&'static Instance> {
        INSTANCE.populate(Instance::make(report, capabilities)?);
        Instance::get()
    }

    /// Makes an IOMMU with its static domains, for [`Self::set_up`].
    pub(super) fn make(
        report: HostReport,
        capabilities: Capabilities,
    ) -> Result<Pin<KBox<Instance>>> {
        let base = if readings::follows_a_crash() {
            Base::High
        } else {
            Base::Low
        };
        let instance = KBox::pin_init(
            try_pin_init!(Instance {
                report,
                capabilities,
                ids <- DomainIds::new(base),
                domains <- DomainList::new(),
                blocking: SetOnce::new(),
                identity: SetOnce::new(),
                making <- new_mutex!(()),
                list_flush: ListFlush::new()?,
                no_five_levels: AtomicFlag::new(false),
                shut_down: AtomicFlag::new(false),
                endpoints <- new_spinlock_irq!(List::new()),
                serials: Atomic::new(0),
                searches: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        for (name, slot, translation) in [
            ("blocking", &instance.blocking, Translation::Blocking),
            ("identity", &instance.identity, Translation::Identity),
        ] {
            if let Err(failure) = instance.make_static(slot, translation) {
                pr_err!("no {name} domain: {failure}\n");
            }
        }
        Ok(instance)
    }

    fn make_static(
        &self,
        slot: &SetOnce<DomainId>,
        translation: Translation,
    ) -> Result<(), MakeError> {
        let _making = self.making.lock();
        if slot.as_ref().is_none() {
            slot.populate(self.make_domain(translation)?);
        }
        Ok(())
    }

    /// A static domain; when it could not be had so far, once more with an attempt at it. That it was
    /// missing was said when the IOMMU was set up.
    fn want(&self, slot: &SetOnce<DomainId>, translation: Translation) -> Option<DomainId> {
        if slot.as_ref().is_none() {
            let _ = self.make_static(slot, translation);
        }
        slot.copy()
    }

    /// What the host reports.
    pub(crate) fn report(&self) -> &HostReport {
        &self.report
    }

    /// The address space for new domains.
    pub(crate) fn aperture(&self) -> Aperture {
        let aperture = self.capabilities.aperture;
        if self.no_five_levels.load(Relaxed) {
            aperture.with_four_levels()
        } else {
            aperture
        }
    }

    /// The page sizes that tables may use, bit n for 2^n bytes.
    pub(crate) fn page_sizes(&self) -> u64 {
        self.capabilities.page_sizes
    }

    /// Whether devices may be allowed to ask for translations.
    pub(crate) fn offers_ats(&self) -> bool {
        self.capabilities.ats == AtsSupport::Offered
    }

    /// Whether devices are only blocked any more.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.is_raised()
    }

    /// Closes all domains when the system shuts down.
    pub(crate) fn shut_down_flag(&self) -> &AtomicFlag {
        &self.shut_down
    }

    /// What it can do.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The domains that are not made for a device, as far as they could be had, and what they do.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn static_domains(&self) -> [(Option<DomainId>, Translation); 2] {
        [
            (self.blocking.copy(), Translation::Blocking),
            (self.identity.copy(), Translation::Identity),
        ]
    }

    /// Closes all domains before the system sleeps: devices are only blocked any more.
    ///
    /// Context: one CPU, interrupts off: nothing else runs until [`Self::open`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn close(&self) {
        self.shut_down.store(true, Relaxed);
    }

    /// Opens them again, each as it was.
    ///
    /// Context: as [`Self::close`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn open(&self) {
        self.shut_down.store(false, Relaxed);
    }

    /// The paging domains.
    pub(crate) fn domains(&self) -> &DomainList {
        &self.domains
    }

    /// The blocking domain; when it could not be had so far, once more with an attempt at it.
    ///
    /// Context: may sleep.
    pub(crate) fn want_blocking(&self) -> Option<DomainId> {
        self.want(&self.blocking, Translation::Blocking)
    }

    /// The blocking domain, if it could be had so far.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn blocking(&self) -> Option<DomainId> {
        self.blocking.copy()
    }

    /// What list flushes share.
    pub(crate) fn list_flush(&self) -> &ListFlush {
        &self.list_flush
    }

    /// The identity domain, if it could be had so far.
    #[cfg(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION))]
    pub(crate) fn identity(&self) -> Option<DomainId> {
        self.identity.copy()
    }

    /// The identity domain; when it could not be had so far, once more with an attempt at it.
    ///
    /// Context: may sleep.
    pub(crate) fn want_identity(&self) -> Option<DomainId> {
        self.want(&self.identity, Translation::Identity)
    }

    /// Remembers that the host takes no 5-level tables.
    pub(crate) fn give_up_five_levels(&self) {
        if !self.no_five_levels.xchg(true, Relaxed) {
            pr_info!("the host refuses 5-level tables, going on with 4 levels\n");
        }
    }

    /// Creates and configures a domain. Nothing is printed: the caller knows whose it is.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`MakeError`]; the hypervisor knows no new domain, or its number is retired.
    pub(crate) fn make_domain(&self, translation: Translation) -> Result<DomainId, MakeError> {
        let id = self.create()?;
        match calls::configure(id, translation) {
            Ok(()) => Ok(id),
            Err(failure) => {
                // The table may go, whether or not this works: no device was attached.
                let _ = self.delete_domain(id);
                Err(match translation {
                    Translation::Table {
                        levels: Levels::Five,
                        ..
                    } if readings::refuses_five_levels(failure) => MakeError::FiveLevels(failure),
                    _ => MakeError::Configure(failure),
                })
            }
        }
    }

    /// Creates a domain of the first number that the hypervisor does not know.
    #[inline(never)]
    fn create(&self) -> Result<DomainId, MakeError> {
        let mut refused = Refused::new(&self.ids);
        for _ in 0..MAX_TAKEN {
            let id = self.ids.take().map_err(MakeError::Number)?;
            let failure = match calls::create(id) {
                Ok(()) => {
                    refused.retire(id);
                    return Ok(id);
                }
                Err(failure) => failure,
            };
            match readings::number_answer(failure) {
                // The domain outlives this kernel, too: its number is retired.
                NumberAnswer::Taken => {}
                NumberAnswer::Irrelevant => {
                    self.ids.give_back(id);
                    return Err(MakeError::Create(failure));
                }
                NumberAnswer::Unclear => {
                    if refused.add(id, failure).is_err() {
                        return Err(MakeError::Create(failure));
                    }
                }
            }
        }
        Err(MakeError::Number(ENOSPC))
    }

    /// Deletes a domain that no device is attached to. With a failure, about which there is a
    /// message, the hypervisor may know the domain for ever: its number is retired.
    ///
    /// Context: may sleep.
    pub(crate) fn delete_domain(&self, id: DomainId) -> Deleted {
        if self.is_shut_down() {
            // That was done, or will be, there.
            return Deleted::No;
        }
        match calls::delete(id) {
            Ok(()) => {
                self.ids.give_back(id);
                Deleted::Yes
            }
            Err(failure) => {
                pr_err!(
                    "{} of domain {id}: {failure}; its number is retired\n",
                    DeleteDeviceDomain::NAME
                );
                Deleted::No
            }
        }
    }

    /// The last resort when a domain cannot be flushed: closes it by its flag, and blocks its
    /// devices. When another CPU is at it already, this waits for that.
    ///
    /// Context: any.
    #[cold]
    pub(crate) fn give_up(
        &self,
        id: DomainId,
        stale: &AtomicFlag,
        emptied: &AtomicFlag,
    ) -> (GivenUp, Tally) {
        protocol::give_up(self, stale, emptied, id, self.blocking.copy())
    }

    /// The system shuts down: leaves all devices blocked, whoever still has them, so that none does
    /// DMA into the memory of a kernel that is started next, and no domain but the blocking one; one
    /// that is made at this very moment may stay, without a device.
    ///
    /// Context: may sleep.
    pub(crate) fn shut_down(&self) {
        let blocking = self.want_blocking();
        let were_closed = self.is_shut_down();
        let Tally { lost, .. } = protocol::shut_down(self, &self.shut_down, blocking);
        if lost != 0 {
            pr_err!("{lost} devices are not blocked at shutdown\n");
            return;
        }
        if were_closed {
            // They could not be made again after hibernation.
            return;
        }
        // The hypervisor keeps domains until it is told otherwise, whatever kernel comes next. Those
        // of a kernel that crashed before this one are not known here, and stay.
        self.ids.each_taken(|id| {
            if Some(id) != blocking {
                let _ = flush_and_delete(id);
            }
        });
    }

    /// Calls `f` for each device, until it fails.
    ///
    /// Context: any; `f` must not sleep.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn each_endpoint<E>(
        &self,
        mut f: impl FnMut(&Endpoint) -> Result<(), E>,
    ) -> Result<(), E> {
        for endpoint in self.endpoints.lock().iter() {
            f(&endpoint)?;
        }
        Ok(())
    }

    /// Makes way for a new device of this id. One that the host has taken away is told that its id is
    /// another device's now.
    ///
    /// Context: may sleep; serialised by the core with all that enters devices.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a device that is there, or is not released yet, has the id.
    pub(crate) fn claim(&self, id: LogicalDeviceId) -> Result {
        let endpoints = self.endpoints.lock();
        let mut others = endpoints.iter().filter(|endpoint| endpoint.id() == id);
        if others.any(|other| !other.make_way()) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The place of a new device in the list, behind all others.
    pub(crate) fn next_serial(&self) -> Serial {
        Serial(self.serials.fetch_add(1, Relaxed).wrapping_add(1))
    }

    /// The first device of the list behind `after`.
    fn next_endpoint(&self, after: Serial) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.lock();
        let mut later = endpoints
            .iter()
            .filter(|endpoint| endpoint.serial() > after);
        later.next().map(Arc::from)
    }

    /// Enters a device.
    pub(crate) fn add_endpoint(&self, endpoint: ListArc<Endpoint>) {
        self.endpoints.lock().push_back(endpoint);
    }

    /// Takes a device out, blocked.
    ///
    /// Context: may sleep; serialised for one device by the core.
    pub(crate) fn release_endpoint(&self, endpoint: &Endpoint) {
        protocol::release(self, endpoint, || {
            // There was a message when that failed.
            let _ = endpoint.block(self);
        });
        endpoint.retire();
    }
}

/// Deletes a domain that nobody uses any more, before somebody else overwrites its tables. A delete need
/// not drop what is cached.
///
/// Context: any but NMI.
pub(super) fn flush_and_delete(id: DomainId) -> Result<(), HypercallError> {
    let _ = calls::flush(id);
    calls::delete(id)
}

impl protocol::Devices for Instance {
    type Device = Endpoint;

    /// The list's lock is held while one device is looked for, not while calls are made about it.
    fn each(&self, mut f: impl FnMut(&Endpoint)) {
        self.searches.fetch_add(1, Relaxed);
        let mut after = Serial::BEFORE_ALL;
        while let Some(endpoint) = self.next_endpoint(after) {
            after = endpoint.serial();
            f(&endpoint);
            if endpoint.is_unsettled() {
                // It may be under way already. Somebody may hold the device's lock for long.
                let _ = workqueue::system_long().enqueue(endpoint);
            }
        }
        self.searches.fetch_sub(1, Release);
    }

    fn remove(&self, endpoint: &Endpoint) {
        let mut removed = None;
        {
            let mut endpoints = self.endpoints.lock();
            let mut cursor = endpoints.cursor_front();
            while let Some(next) = cursor.peek_next() {
                if core::ptr::eq(&*next.arc(), endpoint) {
                    removed = Some(next.remove());
                    break;
                }
                cursor.move_next();
            }
        }
        // A search may hold a reference. The last one must go here: what it frees may sleep.
        while self.searches.load(Acquire) != 0 {
            fsleep(Delta::from_millis(1));
        }
        drop(removed);
    }
}

impl Flag for AtomicFlag {
    fn is_raised(&self) -> bool {
        self.load(Relaxed)
    }

    fn raise(&self) -> bool {
        !self.xchg(true, Full)
    }

    fn is_raised_and_done(&self) -> bool {
        self.load(Acquire)
    }
}

/// The numbers that the hypervisor has refused in the search for one, perhaps because they are taken.
///
/// When another number is accepted, they are retired. When none is, the refusals were about something
/// else, and the numbers are given back.
struct Refused<'a> {
    ids: &'a DomainIds,
    /// Those that can be given back.
    numbers: [Option<DomainId>; MAX_DOUBTFUL],
    count: usize,
    last: Option<HypercallError>,
}

/// So many numbers were refused that no other one is tried.
struct Enough;

impl<'a> Refused<'a> {
    fn new(ids: &'a DomainIds) -> Refused<'a> {
        Refused {
            ids,
            numbers: [None; MAX_DOUBTFUL],
            count: 0,
            last: None,
        }
    }

    /// Adds a number.
    #[cold]
    #[inline(never)]
    fn add(&mut self, id: DomainId, failure: HypercallError) -> Result<(), Enough> {
        self.last = Some(failure);
        if let Some(place) = self.numbers.get_mut(self.count) {
            // A call that may be carried out yet makes a domain of the number: that is retired.
            *place = readings::has_no_effect(failure).then_some(id);
            self.count = self.count.saturating_add(1);
        }
        if self.count < MAX_DOUBTFUL {
            Ok(())
        } else {
            Err(Enough)
        }
    }

    /// `id` was accepted.
    fn retire(mut self, id: DomainId) {
        if let Some(failure) = self.last {
            self.retire_all(id, failure);
        }
    }

    #[cold]
    #[inline(never)]
    fn retire_all(&mut self, id: DomainId, failure: HypercallError) {
        self.numbers = [None; MAX_DOUBTFUL];
        pr_warn!(
            "{}: {failure}; domain {id} is used instead, {} numbers are retired\n",
            CreateDeviceDomain::NAME,
            self.count
        );
    }
}

impl Drop for Refused<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        for id in self.numbers.iter().flatten() {
            self.ids.give_back(*id);
        }
    }
}

/// Whether the hypervisor has forgotten a domain.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Yes,
    No,
}

/// Why there is no new domain.
#[derive(Clone, Copy)]
pub(crate) enum MakeError {
    /// No number is left, or no memory to keep it.
    Number(Error),
    /// It could not be created.
    Create(HypercallError),
    /// It could not be configured.
    Configure(HypercallError),
    /// It could not be configured with a 5-level table.
    FiveLevels(HypercallError),
}

impl From<MakeError> for Error {
    fn from(error: MakeError) -> Error {
        match error {
            MakeError::Number(error) => error,
            MakeError::Create(failure)
            | MakeError::Configure(failure)
            | MakeError::FiveLevels(failure) => failure.into(),
        }
    }
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, failure) = match self {
            MakeError::Number(error) => {
                return write!(f, "no number for it: errno {}", error.to_errno());
            }
            MakeError::Create(failure) => (CreateDeviceDomain::NAME, failure),
            MakeError::Configure(failure) | MakeError::FiveLevels(failure) => {
                (ConfigureDeviceDomain::NAME, failure)
            }
        };
        write!(f, "{call}: ")?;
        failure.fmt(f)
    }
}
