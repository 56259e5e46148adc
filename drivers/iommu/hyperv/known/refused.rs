// SPDX-License-Identifier: GPL-2.0

//! The numbers that the hypervisor refused while a domain was created.

use crate::host::{
    domain_ids::{
        DomainId,
        DomainIds, //
    },
    layouts::CreateDeviceDomain,
    message::{
        say,
        Level,
        Word, //
    },
    readings, //
};
use kernel::hyperv::{
    hypercall::Call,
    status::HypercallError, //
};

/// The numbers that the hypervisor refused for one domain, perhaps because they are taken.
///
/// If the hypervisor accepts another number, the refusals were about the numbers, and these are
/// retired. If it accepts none, the refusals were about something else, and the numbers are given
/// back.
pub(super) struct Refused<'a> {
    ids: &'a DomainIds,
    /// The numbers that may be given back.
    numbers: [Option<DomainId>; readings::DOUBTFUL_MAX],
    count: usize,
    last: Option<HypercallError>,
}

/// So many numbers were refused that trying another one is pointless.
pub(super) struct Enough;

impl<'a> Refused<'a> {
    pub(super) fn new(ids: &'a DomainIds) -> Refused<'a> {
        Refused {
            ids,
            numbers: [None; readings::DOUBTFUL_MAX],
            count: 0,
            last: None,
        }
    }

    /// Adds a refused number.
    #[cold]
    #[inline(never)]
    pub(super) fn add(&mut self, id: DomainId, failure: HypercallError) -> Result<(), Enough> {
        self.last = Some(failure);
        if let Some(place) = self.numbers.get_mut(self.count) {
            // A call that the hypervisor may still carry out takes the number: it is retired.
            *place = readings::has_no_effect(failure).then_some(id);
            self.count = self.count.saturating_add(1);
        }
        if self.count < readings::DOUBTFUL_MAX {
            Ok(())
        } else {
            Err(Enough)
        }
    }

    /// Retires the refused numbers, as the hypervisor has accepted `id`.
    pub(super) fn retire(mut self, id: DomainId) {
        if let Some(failure) = self.last {
            self.retire_all(id, failure);
        }
    }

    #[cold]
    #[inline(never)]
    fn retire_all(&mut self, id: DomainId, failure: HypercallError) {
        self.numbers = [None; readings::DOUBTFUL_MAX];
        let words = [
            Word::Text(&CreateDeviceDomain::NAME),
            Word::Failure(failure),
            Word::Domain(id),
            Word::Number(self.count as u64),
        ];
        let text = "%: %; domain % is used instead, % numbers are retired";
        say(Level::Warn, None, text, &words);
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
