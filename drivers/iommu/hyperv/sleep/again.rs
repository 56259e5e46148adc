// SPDX-License-Identifier: GPL-2.0

//! Making a domain again after the hypervisor was told to forget it.

use crate::{
    host::{
        calls,
        domain_ids::DomainId,
        layouts::{
            ConfigureDeviceDomain,
            CreateDeviceDomain, //
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
    },
    known::domains::flush_and_delete, //
};
use kernel::hyperv::{
    hypercall::Call,
    status::HypercallError, //
};

/// What is not as it was before the system slept.
pub(super) enum Different {
    /// The IOMMU's capabilities.
    Host,
    /// A domain: this call about it failed.
    Domain(DomainId, &'static str, HypercallError),
    /// Another kernel's domain has the number, and cannot be deleted.
    Taken(DomainId),
    /// The list of domains: a task was stopped while it changed the list.
    Busy,
}

impl Different {
    #[inline(never)]
    pub(super) fn report(self) {
        let err = |text, words: &[Word<'_>]| say(Level::Err, None, text, words);
        match self {
            Different::Host => {
                err(
                    "the host's IOMMU is not what it was; the devices stay blocked",
                    &[],
                );
            }
            Different::Domain(id, call, failure) => {
                let words = [Word::Text(&call), Word::Domain(id), Word::Failure(failure)];
                err("% of domain %: %; the devices stay blocked", &words);
            }
            Different::Taken(id) => {
                let text = "domain % is somebody else's; the devices stay blocked";
                err(text, &[Word::Domain(id)]);
            }
            Different::Busy => {
                err("domains were being changed; the devices stay blocked", &[]);
            }
        }
    }
}

/// Makes a domain of a given number again. If another kernel's domain has the number, that domain
/// is deleted first. No device of this guest is in it, as all are blocked.
#[inline(never)]
pub(super) fn make_again(id: DomainId, translation: Translation) -> Result<(), Different> {
    let result = match calls::create(id) {
        Err(failure) if readings::number_answer(failure) == NumberAnswer::Taken => {
            flush_and_delete(id).map_err(|_| Different::Taken(id))?;
            calls::create(id)
        }
        result => result,
    };
    result.map_err(|failure| Different::Domain(id, CreateDeviceDomain::NAME, failure))?;
    configure(id, translation)
}

/// Configures a domain that was just created. If that fails, deletes the domain.
pub(super) fn configure(id: DomainId, translation: Translation) -> Result<(), Different> {
    calls::configure(id, translation).map_err(|failure| {
        // No document says what the hypervisor does with a domain that is not configured.
        let _ = calls::delete(id);
        Different::Domain(id, ConfigureDeviceDomain::NAME, failure)
    })
}
