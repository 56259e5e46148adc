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
        Capabilities, //
    },
    domain_ids::{
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
    translation::Translation, //
};
use kernel::{
    fmt,
    hyperv::{
        device_domain::{
            ConfigureDeviceDomain,
            CreateDeviceDomain,
            DeleteDeviceDomain, //
        },
        hypercall::Call,
        status::{
            HypercallError,
            Status, //
        },
    },
    list::{
        List,
        ListArc, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            AtomicFlag, //
        },
        new_spinlock_irq,
        SetOnce,
        SpinLockIrq, //
    },
};

/// How many numbers in a row may turn out to be taken: those of a previous kernel's domains, which
/// outlive it.
const MAX_TAKEN: usize = 4096;

/// The IOMMU.
#[pin_data]
pub(crate) struct Instance {
    capabilities: Capabilities,
    #[pin]
    ids: DomainIds,
    #[pin]
    domains: DomainList,
    /// The domain that lets nothing through; devices are detached instead when there is none.
    blocking: SetOnce<DomainId>,
    /// The domain that translates nothing; devices cannot be attached to it when there is none.
    identity: SetOnce<DomainId>,
    list_flush: ListFlush,
    /// The host has refused a 5-level table.
    no_five_levels: AtomicFlag,
    /// The system shuts down: devices are only blocked any more.
    shut_down: AtomicFlag,
    /// Every device that was probed and not released.
    #[pin]
    endpoints: SpinLockIrq<List<Endpoint>>,
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
    pub(crate) fn set_up(capabilities: Capabilities) -> Result {
        INSTANCE.populate(Instance::make(capabilities)?);
        Ok(())
    }

    /// Makes an IOMMU with its static domains, for [`Self::set_up`].
    pub(super) fn make(capabilities: Capabilities) -> Result<Pin<KBox<Instance>>> {
        let instance = KBox::pin_init(
            try_pin_init!(Instance {
                capabilities,
                ids <- DomainIds::new(),
                domains <- DomainList::new(),
                blocking: SetOnce::new(),
                identity: SetOnce::new(),
                list_flush: ListFlush::new()?,
                no_five_levels: AtomicFlag::new(false),
                shut_down: AtomicFlag::new(false),
                endpoints <- new_spinlock_irq!(List::new()),
            }),
            GFP_KERNEL,
        )?;
        instance.make_static(&instance.blocking, Translation::Blocking, "blocking");
        instance.make_static(&instance.identity, Translation::Identity, "identity");
        Ok(instance)
    }

    fn make_static(&self, slot: &SetOnce<DomainId>, translation: Translation, name: &str) {
        match self.make_domain(translation) {
            Ok(id) => {
                if !slot.populate(id) {
                    // Somebody else was faster.
                    let _ = self.delete_domain(id);
                }
            }
            Err(failure) => pr_err!("no {name} domain: {failure}\n"),
        }
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

    /// The paging domains.
    pub(crate) fn domains(&self) -> &DomainList {
        &self.domains
    }

    /// The blocking domain; when it could not be had so far, once more with an attempt at it.
    ///
    /// Context: may sleep.
    pub(crate) fn want_blocking(&self) -> Option<DomainId> {
        if self.blocking.as_ref().is_none() {
            self.make_static(&self.blocking, Translation::Blocking, "blocking");
        }
        self.blocking.copy()
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

    /// The identity domain.
    pub(crate) fn identity(&self) -> Option<DomainId> {
        self.identity.copy()
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
                    } if says_unsupported(failure) => MakeError::FiveLevels(failure),
                    _ => MakeError::Configure(failure),
                })
            }
        }
    }

    /// Creates a domain of the first number that the hypervisor does not know.
    fn create(&self) -> Result<DomainId, MakeError> {
        for _ in 0..MAX_TAKEN {
            let id = self.ids.take().map_err(MakeError::Number)?;
            match calls::create(id) {
                Ok(()) => return Ok(id),
                // A previous kernel's, by our reading of the status's name: the number is retired.
                Err(failure) if failure.is(Status::KEY_ALREADY_EXISTS) => {}
                Err(failure) => {
                    if is_final(failure) {
                        self.ids.give_back(id);
                    }
                    return Err(MakeError::Create(failure));
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
    pub(crate) fn give_up(&self, id: DomainId, stale: &AtomicFlag) -> (GivenUp, Tally) {
        protocol::give_up(self, stale, id, self.blocking.copy())
    }

    /// The system shuts down: leaves all devices blocked, whoever still has them, so that none does
    /// DMA into the memory of a kernel that is started next, and no domain but the blocking one; one
    /// that is made at this very moment may stay, without a device.
    ///
    /// Context: may sleep.
    pub(crate) fn shut_down(&self) {
        let blocking = self.want_blocking();
        let Tally { lost, .. } = protocol::shut_down(self, &self.shut_down, blocking);
        if lost != 0 {
            pr_err!("{lost} devices are not blocked at shutdown\n");
            return;
        }
        // The hypervisor keeps domains until it is told otherwise, whatever kernel comes next.
        self.ids.each_taken(|id| {
            if Some(id) != blocking {
                // A delete need not drop what is cached; the next kernel overwrites the tables.
                let _ = calls::flush(id);
                let _ = calls::delete(id);
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
    }
}

impl protocol::Devices for Instance {
    type Device = Endpoint;

    fn each(&self, mut f: impl FnMut(&Endpoint)) {
        for endpoint in self.endpoints.lock().iter() {
            f(&endpoint);
        }
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
        // The last reference may go here: not under the lock.
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
}

/// Whether a refused configuration is one that the host will never take.
fn says_unsupported(failure: HypercallError) -> bool {
    [
        Status::INVALID_PARAMETER,
        Status::PROPERTY_VALUE_OUT_OF_RANGE,
        Status::FEATURE_UNAVAILABLE,
    ]
    .into_iter()
    .any(|status| failure.is(status))
}

/// Whether the hypervisor, having refused a call, can be taken to have done nothing.
fn is_final(failure: HypercallError) -> bool {
    match failure {
        HypercallError::Status(status) => {
            status != Status::TIME_OUT && status != Status::CALL_PENDING
        }
        HypercallError::Unavailable => true,
        HypercallError::NoProgress => false,
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
