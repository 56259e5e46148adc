// SPDX-License-Identifier: GPL-2.0
//! A hostile host at work, and what the guest was told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::injection::named_domain;
use super::Partition;
use crate::control::ToldField;
use crate::hostile::random::Seed;
use crate::hostile::{Conduct, Deed, Hostile, Lie, Output, Word};
use crate::hypercall::control_word::{Outcome, ResultWord};
use crate::hypercall::dispatch::{Call, IommuCall, Request};
use crate::ids::{DomainId, Gpa, LogicalDeviceId, VpIndex};
use crate::iommu::layout;
use crate::platform::{LogLevel, Platform};
use crate::status::Status;

/// What a guest read after a call that has an output.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    result: u64,
    output: [u64; 3],
}

/// Whether the guest's picture of the IOMMU's state can be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Picture {
    Right,
    /// It was told something wrong once: what it then asks for may make no sense, without any fault of its own.
    Wrong,
}

/// The state of the hostile host.
pub(super) struct Hostility {
    host: Option<Hostile>,
    picture: Picture,
    /// Answers that were wrong since the last command about it.
    wrong: u64,
    /// The result word of the call at hand, where it is not the true one.
    word: Option<u64>,
    /// Domains that exist although the guest was told that they do not, or although it deleted or would have deleted
    /// them.
    orphans: Vec<DomainId>,
    capabilities: Option<Told>,
    properties: BTreeMap<LogicalDeviceId, Told>,
}

impl Hostility {
    pub(super) fn new(seed: Option<Seed>) -> Hostility {
        Hostility {
            host: seed.map(Hostile::new),
            picture: Picture::Right,
            wrong: 0,
            word: None,
            orphans: Vec::new(),
            capabilities: None,
            properties: BTreeMap::new(),
        }
    }

    /// The result word for the guest, when it differs from what the call came to.
    pub(super) fn take_word(&mut self) -> Option<u64> {
        self.word.take()
    }

    /// Whether there is a hostile host.
    pub(super) fn is_at_work(&self) -> bool {
        self.host.is_some()
    }

    /// Whether a call that makes no sense may be the host's fault.
    pub(super) fn confuses(&self) -> bool {
        self.picture == Picture::Wrong
    }
}

impl Partition {
    /// Carries out a call that no rule applies to, as the host feels.
    pub(super) fn answer_by_mood(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
    ) -> Outcome {
        let (Call::Iommu(call), Some(host)) = (request.spec.call, self.hostility.host.as_mut()) else {
            return self.carry_out(platform, vp, request);
        };
        let lie = match (call, layout::named_domain(call, request.input)) {
            // The number of a domain that exists would be the guest's by mistake.
            (IommuCall::Create, Some(id)) if self.iommu.domains().translation(id).is_some() => Lie::Harmful,
            _ => Lie::Harmless,
        };
        let conduct = host.conduct(call, request.list.map(|list| list.indices()), lie);
        if matches!(conduct.word, Word::Given(_)) {
            self.hostility.picture = Picture::Wrong;
            self.hostility.wrong = self.hostility.wrong.saturating_add(1);
            platform.log(LogLevel::Trace, format_args!("hostile: {}: {conduct:x?}", request.spec.code));
        }
        self.behave(platform, vp, request, conduct)
    }

    fn behave(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
        conduct: Conduct,
    ) -> Outcome {
        let done = match conduct.deed {
            Deed::Nothing => None,
            Deed::Whole => Some(self.carry_out(platform, vp, request)),
            Deed::Part(elements) => {
                if let Some(list) = &mut request.list {
                    list.limit(elements);
                }
                Some(self.carry_out(platform, vp, request))
            }
        };
        if let (Output::Given(bytes, len), Some(gpa)) = (conduct.output, request.output) {
            // The block was checked to be guest RAM; if it is not any more, there is nothing to spoil.
            let _ = platform.write(gpa, bytes.get(..len).unwrap_or(&bytes));
        }
        let word = match (conduct.word, done) {
            (Word::True(bits), Some(done)) => done.word().0 | bits,
            (Word::Given(word), None) => word,
            // A deed that failed by itself is no success, whatever was to be said about it.
            (Word::Given(word), Some(done)) if word as u16 == 0 && !done.status.is_success() => done.word().0,
            (Word::Given(word), Some(_)) => word,
            (Word::True(bits), None) => Outcome::from(Status::OPERATION_FAILED).word().0 | bits,
        };
        self.hostility.word = Some(word);
        let told = Outcome { status: Status(word as u16), reps_completed: (word >> 32) as u16 & 0xfff };
        self.note_orphan(request, done, told);
        told
    }

    /// Remembers a domain that exists without the guest's knowledge.
    fn note_orphan(&mut self, request: &Request<'_>, done: Option<Outcome>, told: Outcome) {
        let (Call::Iommu(call), Some(id)) = (request.spec.call, named_domain(request)) else { return };
        let exists = self.iommu.domains().translation(id).is_some();
        let hidden = match call {
            IommuCall::Create => done.is_some_and(|done| done.status.is_success()),
            // A guest keeps the number and the table of a domain that it cannot flush, and does not delete it.
            IommuCall::Flush => self.iommu.domains().attached(id).next().is_none(),
            IommuCall::Delete => true,
            _ => false,
        };
        if exists && hidden && !told.status.is_success() && !self.hostility.orphans.contains(&id) {
            self.hostility.orphans.push(id);
        }
    }

    /// Another host from now on, an honest one with seed 0; how many answers of the last one were wrong.
    pub(super) fn set_hostile(&mut self, platform: &mut impl Platform, seed: u64) -> u64 {
        for id in core::mem::take(&mut self.hostility.orphans) {
            // One that a device is in stays.
            let _ = self.iommu.domains_mut().delete(platform, id);
        }
        let seed = NonZeroU64::new(seed).map(Seed);
        self.hostility.host = seed.map(Hostile::new);
        if let Some(seed) = seed {
            platform.log(LogLevel::Trace, format_args!("hostile: seed {seed}"));
        }
        core::mem::take(&mut self.hostility.wrong)
    }

    /// Remembers what the guest reads after a question of the IOMMU's.
    pub(super) fn note_told(&mut self, platform: &impl Platform, request: &Request<'_>, word: ResultWord) {
        let Call::Iommu(call @ (IommuCall::GetCapabilities | IommuCall::GetDeviceProperty)) = request.spec.call else {
            return;
        };
        let mut told = Told { result: self.hostility.word.unwrap_or(word.0), output: [0; 3] };
        let words = request.output.map_or(0, |_| request.spec.output_bytes / 8);
        for (index, word) in told.output.iter_mut().enumerate().take(words) {
            let mut bytes = [0; 8];
            let gpa = request.output.and_then(|Gpa(gpa)| Gpa(gpa).checked_add(8 * index as u64));
            if gpa.is_some_and(|gpa| platform.read(gpa, &mut bytes).is_ok()) {
                *word = u64::from_le_bytes(bytes);
            }
        }
        match (call, layout::named_device(call, request.input)) {
            (IommuCall::GetDeviceProperty, Some(id)) => {
                // As many as there are devices: a guest may ask about anything.
                if self.iommu.domains().device(id).is_some() {
                    self.hostility.properties.insert(id, told);
                }
            }
            (IommuCall::GetDeviceProperty, None) => {}
            _ => self.hostility.capabilities = Some(told),
        }
    }

    /// What the guest was told last; `None` when it has not asked.
    pub(super) fn told(&self, field: ToldField, device: LogicalDeviceId) -> Option<u64> {
        let capabilities = self.hostility.capabilities;
        let property = self.hostility.properties.get(&device);
        match field {
            ToldField::Result => capabilities.map(|told| told.result),
            ToldField::Width => capabilities.map(|told| told.output[0] >> 48 & 0xff),
            ToldField::Flags => capabilities.map(|told| told.output[1]),
            ToldField::PageSizes => capabilities.map(|told| told.output[2]),
            ToldField::DeviceResult => property.map(|told| told.result),
            ToldField::DeviceProperty => property.map(|told| told.output[0]),
        }
    }
}
