// SPDX-License-Identifier: GPL-2.0
//! A hostile host at work, and what the guest was told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::plan::{Aftermath, Amount, Author, Plan, Told};
use super::Partition;
use crate::hostile::random::Seed;
use crate::hostile::{Hostile, Lie, Word};
use crate::hypercall::calls::IommuCall;
use crate::hypercall::control_word::{Outcome, ResultWord};
use crate::hypercall::list::Span;
use crate::ids::{DomainId, LogicalDeviceId};
use crate::platform::{LogLevel, Platform};
use crate::request::Hypercall;
use crate::test_interface::ToldField;

/// What a guest read after a call that has an output.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
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
    /// Domains that exist although the guest was told that they do not, or although it deleted or would have deleted
    /// them.
    orphans: Vec<DomainId>,
    capabilities: Option<Reading>,
    properties: BTreeMap<LogicalDeviceId, Reading>,
}

impl Hostility {
    pub(super) fn new(seed: Option<Seed>) -> Hostility {
        Hostility {
            host: seed.map(Hostile::new),
            picture: Picture::Right,
            wrong: 0,
            orphans: Vec::new(),
            capabilities: None,
            properties: BTreeMap::new(),
        }
    }

    /// Whether a call that makes no sense may be the host's fault.
    pub(super) fn confuses(&self) -> bool {
        self.picture == Picture::Wrong
    }
}

impl Partition {
    /// How a call that no rule applies to is treated, as the host feels.
    pub(super) fn plan_by_mood(&mut self, platform: &mut impl Platform, call: &Hypercall<'_>) -> Plan {
        let (which, host) = match (call.iommu(), self.hostility.host.as_mut()) {
            (_, None) => return Plan::HONEST,
            (None, Some(_)) => return Plan::whole(Author::Nobody),
            (Some(which), Some(host)) => (which, host),
        };
        let lie = match (which, call.subject.domain) {
            // The number of a domain that exists would be the guest's by mistake.
            (IommuCall::Create, Some(id)) if self.iommu.domains().translation(id).is_some() => Lie::Harmful,
            _ => Lie::Harmless,
        };
        let conduct = host.conduct(which, call.span.map(Span::indices), lie);
        let told = match conduct.word {
            Word::True(bits) => Told::Marked(bits),
            Word::Given(word) => Told::Word(ResultWord(word)),
        };
        if matches!(conduct.word, Word::Given(_)) {
            self.hostility.picture = Picture::Wrong;
            self.hostility.wrong = self.hostility.wrong.saturating_add(1);
            platform.log(LogLevel::Trace, format_args!("hostile: {}: {conduct:x?}", call.spec.code));
        }
        let (amount, output) = (Amount::of_host(conduct.deed), Aftermath::Replaced(conduct.output));
        Plan { amount, output, told, author: Author::Mood }
    }

    /// Remembers a domain that exists without the guest's knowledge, after a call that the host's mood decided about.
    pub(super) fn note_orphan(&mut self, call: &Hypercall<'_>, done: Option<Outcome>, told: ResultWord) {
        let (Some(which), Some(id)) = (call.iommu(), call.subject.domain) else { return };
        let exists = self.iommu.domains().translation(id).is_some();
        let hidden = match which {
            IommuCall::Create => done.is_some_and(|done| done.status.is_success()),
            // A guest keeps the number and the table of a domain that it cannot flush, and does not delete it.
            IommuCall::Flush => self.iommu.domains().attached(id).next().is_none(),
            IommuCall::Delete => true,
            _ => false,
        };
        if exists && hidden && !told.status().is_success() && !self.hostility.orphans.contains(&id) {
            self.hostility.orphans.push(id);
        }
    }

    /// Another host from now on, an honest one with seed 0; how many answers of the last one were wrong.
    pub(super) fn set_hostile(&mut self, platform: &mut impl Platform, seed: u64) -> u64 {
        for id in core::mem::take(&mut self.hostility.orphans) {
            // One that a device is in stays.
            let _ = self.iommu.domains_mut().delete(id);
        }
        let seed = NonZeroU64::new(seed).map(Seed);
        self.hostility.host = seed.map(Hostile::new);
        if let Some(seed) = seed {
            platform.log(LogLevel::Trace, format_args!("hostile: seed {seed}"));
        }
        core::mem::take(&mut self.hostility.wrong)
    }

    /// Remembers what the guest reads after a question of the IOMMU's.
    pub(super) fn note_told(&mut self, platform: &impl Platform, call: &Hypercall<'_>, word: ResultWord) {
        let which = call.iommu();
        let (Some(IommuCall::GetCapabilities | IommuCall::GetDeviceProperty), Some(output)) = (which, call.output)
        else {
            return;
        };
        let mut told = Reading { result: word.0, output: [0; 3] };
        for (index, word) in (0..).zip(told.output.iter_mut()).take(output.bytes() / 8) {
            let mut bytes = [0; 8];
            if output.element(index, 8).is_ok_and(|gpa| platform.read(gpa, &mut bytes).is_ok()) {
                *word = u64::from_le_bytes(bytes);
            }
        }
        match (which, call.subject.device) {
            (Some(IommuCall::GetDeviceProperty), Some(id)) => {
                // As many as there are devices: a guest may ask about anything.
                if self.iommu.domains().device(id).is_some() {
                    self.hostility.properties.insert(id, told);
                }
            }
            (Some(IommuCall::GetDeviceProperty), None) => {}
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
