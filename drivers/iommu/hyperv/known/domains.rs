// SPDX-License-Identifier: GPL-2.0

//! The domains that the hypervisor is told of: their numbers, their life, and the two that are not
//! made for a device.

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

/// How many numbers in a row may turn out to be taken: those of a previous kernel's domains, which
/// outlive it.
const MAX_TAKEN: usize = 4096;

/// The domains.
#[pin_data]
pub(crate) struct Domains {
    #[pin]
    ids: DomainIds,
    /// The domain that lets nothing through; devices are detached instead when there is none.
    blocking: SetOnce<DomainId>,
    /// The domain that translates nothing; devices cannot be attached to it when there is none.
    identity: SetOnce<DomainId>,
    /// Held while one of the two is made.
    #[pin]
    making: Mutex<()>,
    /// The system shuts down, or sleeps: devices are only blocked any more.
    closed: AtomicFlag,
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
        })
    }

    /// Makes the static domains. There is a message about one that cannot be had: devices are then
    /// detached to block them, or cannot be attached to identity.
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

    /// A static domain; when it could not be had so far, once more with an attempt at it. That it
    /// was missing was said when the IOMMU was set up.
    #[inline(never)]
    fn want(&self, slot: &SetOnce<DomainId>, translation: Translation) -> Option<DomainId> {
        if slot.as_ref().is_none() {
            let _ = self.make_static(slot, translation);
        }
        slot.copy()
    }

    /// The blocking domain; when it could not be had so far, once more with an attempt at it.
    ///
    /// Context: may sleep.
    pub(crate) fn want_blocking(&self) -> Option<DomainId> {
        self.want(&self.blocking, Translation::Blocking)
    }

    /// The blocking domain, if it could be had so far.
    ///
    /// Context: any.
    pub(crate) fn blocking(&self) -> Option<DomainId> {
        self.blocking.copy()
    }

    /// The identity domain; when it could not be had so far, once more with an attempt at it.
    ///
    /// Context: may sleep.
    pub(crate) fn want_identity(&self) -> Option<DomainId> {
        self.want(&self.identity, Translation::Identity)
    }

    /// The identity domain, if it could be had so far.
    #[cfg(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION))]
    pub(crate) fn identity(&self) -> Option<DomainId> {
        self.identity.copy()
    }

    /// The domains that are not made for a device, as far as they could be had, and what they do.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn statics(&self) -> [(Option<DomainId>, Translation); 2] {
        [
            (self.blocking.copy(), Translation::Blocking),
            (self.identity.copy(), Translation::Identity),
        ]
    }

    /// Whether devices are only blocked any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Closes all domains when the system shuts down.
    pub(crate) fn closed(&self) -> &AtomicFlag {
        &self.closed
    }

    /// Closes all domains before the system sleeps: devices are only blocked any more.
    ///
    /// Context: one CPU, interrupts off: nothing else runs until [`Self::open`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Opens them again, each as it was.
    ///
    /// Context: as [`Self::close`].
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn open(&self) {
        self.closed.store(false, Relaxed);
    }

    /// Creates and configures a domain. Nothing is printed: the caller knows whose it is.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`MakeError`]; the hypervisor knows no new domain, or its number is retired.
    pub(crate) fn make(&self, translation: Translation) -> Result<DomainId, MakeError> {
        let id = self.create()?;
        match calls::configure(id, translation) {
            Ok(()) => Ok(id),
            Err(failure) => {
                // The table may go, whether or not this works: no device was attached.
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
    #[inline(never)]
    pub(crate) fn delete(&self, id: DomainId) -> Deleted {
        if self.is_closed() {
            // That was done, or will be, there.
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

    /// Deletes all domains but the blocking one, whoever made them: the hypervisor keeps domains
    /// until it is told otherwise, whatever kernel comes next. Those of a kernel that crashed
    /// before this one are not known here, and stay.
    ///
    /// Context: may sleep; no device is in one of them, nor will one be.
    pub(crate) fn delete_all(&self) {
        let blocking = self.blocking();
        self.ids.each_taken(|id| {
            if Some(id) != blocking {
                let _ = flush_and_delete(id);
            }
        });
    }
}

/// Deletes a domain that nobody uses any more, before somebody else overwrites its tables. A delete
/// need not drop what is cached.
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

impl MakeError {
    /// Says that there is no domain, and why. `what` there is not begins the message.
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
