// SPDX-License-Identifier: GPL-2.0

//! Making a domain again that the hypervisor was told to forget.

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

/// What is not as it was.
pub(super) enum Different {
    /// The IOMMU.
    Host,
    /// A domain, by a call that failed.
    Domain(DomainId, &'static str, HypercallError),
    /// Another kernel's domain has the number, and stays.
    Taken(DomainId),
    /// Somebody was stopped in the middle of a change.
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

/// Makes a domain of a given number. One of another kernel that has the number is deleted; no
/// device of this guest is in it, as all are blocked.
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

/// Configures a domain that was just created, or else deletes it.
pub(super) fn configure(id: DomainId, translation: Translation) -> Result<(), Different> {
    calls::configure(id, translation).map_err(|failure| {
        // What the hypervisor does with a domain that is not configured is not documented.
        let _ = calls::delete(id);
        Different::Domain(id, ConfigureDeviceDomain::NAME, failure)
    })
}
