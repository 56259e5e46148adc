// SPDX-License-Identifier: GPL-2.0

//! The domains that the hypervisor knows: their numbers, their creation and deletion, and the two
//! static ones.

use super::refused::Refused;
use crate::host::{
    aperture::Levels,
    calls,
    domain_ids::{
        Base,
        DomainId,
        DomainIds, //
    },
    layouts::{
        ConfigureDeviceDomain,
        CreateDeviceDomain,
        DeleteDeviceDomain, //
    },
    message::{
        say,
        Level,
        Word, //
    },
    readings::{
        self,
        NumberAnswer, //
    },
    translation::Translation, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        status::HypercallError, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            AtomicFlag, //
        },
        Mutex,
        SetOnce, //
    }, //
};

/// The domains.
#[pin_data]
pub(crate) struct Domains {
    #[pin]
    ids: DomainIds,
    /// The domain that lets nothing through. Without it, devices are detached to block them.
    blocking: SetOnce<DomainId>,
    /// The domain that translates nothing. Without it, no device can be attached to identity.
    identity: SetOnce<DomainId>,
    /// Held while one of the two static domains is made.
    #[pin]
    making: Mutex<()>,
    /// Raised while the system shuts down or sleeps: devices may only be blocked then.
    closed: AtomicFlag,
    /// The blocking domain could not be made again when the system woke up.
    blocking_lost: AtomicFlag,
}

impl Domains {
    /// No domain so far.
    pub(crate) fn new(base: Base) -> impl PinInit<Self> {
        pin_init!(Self {
            ids <- DomainIds::new(base),
            blocking: SetOnce::new(),
            identity: SetOnce::new(),
            making <- new_mutex!(()),
            closed: AtomicFlag::new(false),
            blocking_lost: AtomicFlag::new(false),
        })
    }

    /// Makes the static domains. A message reports one that the hypervisor refuses. Without the
    /// blocking domain, devices are detached to block them. Without the identity domain, none can
    /// be attached to identity.
    ///
    /// Context: may sleep.
    pub(crate) fn make_statics(&self) {
        for (what, slot, translation) in [
            ("no blocking domain", &self.blocking, Translation::Blocking),
            ("no identity domain", &self.identity, Translation::Identity),
        ] {
            if let Err(error) = self.make_static(slot, translation) {
                error.report(None, what);
            }
        }
    }

    fn make_static(
        &self,
        slot: &SetOnce<DomainId>,
        translation: Translation,
    ) -> Result<(), MakeError> {
        let _making = self.making.lock();
        if slot.as_ref().is_none() {
            slot.populate(self.make(translation)?);
        }
        Ok(())
    }

    /// Returns a static domain, and tries to make it if that has failed so far. No message here:
    /// there was one when the IOMMU was set up.
    #[inline(never)]
    fn want(&self, slot: &SetOnce<DomainId>, translation: Translation) -> Option<DomainId> {
        if slot.as_ref().is_none() {
            let _ = self.make_static(slot, translation);
        }
        slot.copy()
    }

    /// Returns the blocking domain, and tries to make it if that has failed so far.
    ///
    /// Context: may sleep.
    pub(crate) fn want_blocking(&self) -> Option<DomainId> {
        self.want(&self.blocking, Translation::Blocking);
        self.blocking()
    }

    /// Returns the blocking domain, if it was made.
    ///
    /// Context: any.
    pub(crate) fn blocking(&self) -> Option<DomainId> {
        self.blocking
            .copy()
            .filter(|_| !self.blocking_lost.load(Relaxed))
    }

    /// Notes that the hypervisor no longer knows the blocking domain. From now on devices are
    /// detached to block them.
    ///
    /// Context: as [`Self::close`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn lose_blocking(&self) {
        self.blocking_lost.store(true, Relaxed);
    }

    /// Returns the identity domain, and tries to make it if that has failed so far.
    ///
    /// Context: may sleep.
    pub(crate) fn want_identity(&self) -> Option<DomainId> {
        self.want(&self.identity, Translation::Identity)
    }

    /// Returns the identity domain, if it was made.
    #[cfg(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION))]
    pub(crate) fn identity(&self) -> Option<DomainId> {
        self.identity.copy()
    }

    /// The static domains, as far as they were made, and what each does with DMA.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn statics(&self) -> [(Option<DomainId>, Translation); 2] {
        [
            (self.blocking.copy(), Translation::Blocking),
            (self.identity.copy(), Translation::Identity),
        ]
    }

    /// Whether devices may only be blocked.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// The flag that closes all domains at shutdown.
    pub(crate) fn closed(&self) -> &AtomicFlag {
        &self.closed
    }

    /// Closes all domains before the system sleeps: devices may only be blocked then.
    ///
    /// Context: one CPU, interrupts off: nothing else runs until [`Self::open`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Opens the domains again.
    ///
    /// Context: as [`Self::close`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn open(&self) {
        self.closed.store(false, Relaxed);
    }

    /// Creates and configures a domain. Writes no message: only the caller knows whose domain it
    /// is.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`MakeError`]. The hypervisor then knows no new domain, or the domain's number is retired.
    pub(crate) fn make(&self, translation: Translation) -> Result<DomainId, MakeError> {
        let id = self.create()?;
        match calls::configure(id, translation) {
            Ok(()) => Ok(id),
            Err(failure) => {
                // No device was attached to the domain, so its table may be freed even if this
                // fails.
                let _ = self.delete(id);
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

    /// Creates a domain with the lowest number that the hypervisor accepts.
    #[inline(never)]
    fn create(&self) -> Result<DomainId, MakeError> {
        let mut refused = Refused::new(&self.ids);
        for _ in 0..readings::TAKEN_MAX {
            let id = self.ids.take().map_err(MakeError::Number)?;
            let failure = match calls::create(id) {
                Ok(()) => {
                    refused.retire(id);
                    return Ok(id);
                }
                Err(failure) => failure,
            };
            match readings::number_answer(failure) {
                // The number is not given back: the domain that has it may outlive this kernel,
                // too.
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

    /// Deletes a domain that no device is attached to. A failure is reported by a message. The
    /// hypervisor may know the domain for ever then, so its number is retired.
    ///
    /// Context: may sleep.
    #[inline(never)]
    pub(crate) fn delete(&self, id: DomainId) -> Deleted {
        if self.is_closed() {
            // Whoever closes the IOMMU, at shutdown or for hibernation, deletes all domains itself.
            return Deleted::No;
        }
        match calls::delete(id) {
            Ok(()) => {
                self.ids.give_back(id);
                Deleted::Yes
            }
            Err(failure) => {
                let words = [
                    Word::Text(&DeleteDeviceDomain::NAME),
                    Word::Domain(id),
                    Word::Failure(failure),
                ];
                let text = "% of domain %: %; its number is retired";
                say(Level::Err, None, text, &words);
                Deleted::No
            }
        }
    }

    /// Deletes all domains but the blocking one, whoever made them: the hypervisor would keep them
    /// for the next kernel. Domains of a kernel that crashed before this one are not known here,
    /// and stay.
    ///
    /// Context: may sleep. No device is in one of these domains, and none may enter.
    pub(crate) fn delete_all(&self) {
        let blocking = self.blocking();
        self.ids.each_taken(|id| {
            if Some(id) != blocking {
                let _ = flush_and_delete(id);
            }
        });
    }
}

/// Flushes and deletes a domain that nobody uses, before its tables are overwritten. A delete alone
/// may leave cached entries behind.
///
/// Context: any but NMI.
pub(crate) fn flush_and_delete(id: DomainId) -> Result<(), HypercallError> {
    let _ = calls::flush(id);
    calls::delete(id)
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
    /// No number is left, or there is no memory to note one.
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

impl MakeError {
    /// Reports that there is no domain, and why. The message begins with `what`, which names the
    /// missing domain.
    #[inline(never)]
    pub(crate) fn report(self, dev: Option<&device::Device>, what: &'static str) {
        let (call, failure) = match self {
            MakeError::Number(error) => {
                let words = [Word::Text(&what), Word::Errno(error)];
                return say(Level::Err, dev, "%: no number for it: errno %", &words);
            }
            MakeError::Create(failure) => (CreateDeviceDomain::NAME, failure),
            MakeError::Configure(failure) | MakeError::FiveLevels(failure) => {
                (ConfigureDeviceDomain::NAME, failure)
            }
        };
        let words = [Word::Text(&what), Word::Text(&call), Word::Failure(failure)];
        say(Level::Err, dev, "%: %: %", &words);
    }
}
