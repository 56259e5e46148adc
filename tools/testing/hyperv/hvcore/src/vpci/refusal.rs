// SPDX-License-Identifier: GPL-2.0
//! Messages of the guest that are refused although nothing is wrong with them.

use core::num::NonZeroU16;

use crate::ids::BusIndex;
use crate::inject::Occurrences;
use crate::nt_status::NtStatus;

use super::message::Request;

/// The number of messages that stands for all of them.
const ALL: u16 = 0x7fff;
/// Windows that end at or below this address lie in low MMIO space.
const LOW: u64 = 1 << 32;

/// Messages that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    /// `QUERY_PROTOCOL_VERSION`.
    Version = 0,
    /// `QUERY_BUS_RELATIONS`. Its answer is a message of its own: a guest that wants no completion besides hears nothing.
    Relations = 1,
    /// `QUERY_RESOURCE_REQUIREMENTS`.
    Requirements = 2,
    /// `BUS_D0ENTRY`.
    PowerOn = 3,
    /// The same with the configuration window in low MMIO space, below 4 GiB.
    PowerOnLow = 4,
    /// `RESOURCES_ASSIGNED` of any form.
    Assigned = 5,
    /// `CREATE_INTERRUPT` of any form.
    Interrupt = 6,
}

impl MessageKind {
    /// All of them, by their number.
    pub const ALL: [MessageKind; 7] = [
        MessageKind::Version,
        MessageKind::Relations,
        MessageKind::Requirements,
        MessageKind::PowerOn,
        MessageKind::PowerOnLow,
        MessageKind::Assigned,
        MessageKind::Interrupt,
    ];

    fn concerns(self, request: &Request) -> bool {
        match (self, request) {
            (MessageKind::Version, Request::QueryProtocolVersion { .. })
            | (MessageKind::Relations, Request::QueryBusRelations)
            | (MessageKind::Requirements, Request::QueryResourceRequirements { .. })
            | (MessageKind::PowerOn, Request::BusD0Entry { .. })
            | (MessageKind::Assigned, Request::ResourcesAssigned { .. })
            | (MessageKind::Interrupt, Request::CreateInterrupt { .. }) => true,
            (MessageKind::PowerOnLow, Request::BusD0Entry { window }) => window.0 < LOW,
            _ => false,
        }
    }
}

/// The next messages of a kind on a bus are answered with a status and have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which messages.
    pub kind: MessageKind,
    /// The answer, a failure.
    pub status: NtStatus,
    /// How many.
    pub occurrences: Occurrences,
}

impl Refusal {
    /// The refusal as two words of the test interface: bus 7:0, kind 15:8, number 30:16 (0x7fff for all), and the status.
    /// `None` for a bus that has no number there, or more messages than that.
    pub fn encode(self, bus: BusIndex) -> Option<(u32, u32)> {
        let bus = u8::try_from(bus.0).ok()?;
        let times = match self.occurrences {
            Occurrences::All => ALL,
            Occurrences::Times(times) => Some(times.get()).filter(|&times| times < ALL)?,
        };
        Some((u32::from(times) << 16 | (self.kind as u32) << 8 | u32::from(bus), self.status.0))
    }

    /// See [`Refusal::encode`]; `None` for words that it never gives, and for a status that is no failure.
    pub fn decode(word: u32, status: u32) -> Option<(BusIndex, Refusal)> {
        let [bus, kind, ..] = word.to_le_bytes();
        let occurrences = match (word >> 16) as u16 {
            ALL => Occurrences::All,
            times => Occurrences::Times(NonZeroU16::new(times).filter(|times| times.get() < ALL)?),
        };
        let kind = MessageKind::ALL.into_iter().find(|&known| known as u8 == kind)?;
        let status = Some(NtStatus(status)).filter(|status| !status.is_success())?;
        Some((BusIndex(bus.into()), Refusal { kind, status, occurrences }))
    }
}

/// What a bus refuses, at most one rule for a kind of messages.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By kind.
    rules: [Option<Refusal>; MessageKind::ALL.len()],
    refused: u64,
}

impl Refusals {
    /// Adds a rule in place of the one for the same messages.
    pub(super) fn add(&mut self, refusal: Refusal) {
        if let Some(rule) = self.rules.get_mut(refusal.kind as usize) {
            *rule = Some(refusal);
        }
    }

    /// Removes all rules.
    pub(super) fn clear(&mut self) {
        self.rules = Default::default();
    }

    /// Messages refused since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// The status that a message is refused with, if a rule is about it; of two rules the first one by number.
    pub(super) fn check(&mut self, request: &Request) -> Option<NtStatus> {
        let concerns = |rule: &&mut Option<Refusal>| rule.is_some_and(|rule| rule.kind.concerns(request));
        let rule = self.rules.iter_mut().find(concerns)?;
        let refusal = (*rule)?;
        *rule = match refusal.occurrences {
            Occurrences::All => Some(refusal),
            Occurrences::Times(times) => NonZeroU16::new(times.get() - 1)
                .map(|left| Refusal { occurrences: Occurrences::Times(left), ..refusal }),
        };
        self.refused = self.refused.saturating_add(1);
        Some(refusal.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Gpa;
    use proptest::prelude::*;

    const STATUS: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;

    fn times(kind: MessageKind, count: u16) -> Refusal {
        Refusal { kind, status: STATUS, occurrences: Occurrences::Times(NonZeroU16::new(count).unwrap()) }
    }

    #[test]
    fn words_of_the_test_interface() {
        let rule = times(MessageKind::PowerOn, 2);
        assert_eq!(rule.encode(BusIndex(5)), Some((0x0002_0305, 0xc000_009a)));
        let all = Refusal { occurrences: Occurrences::All, ..rule };
        assert_eq!(all.encode(BusIndex(255)), Some((0x7fff_03ff, 0xc000_009a)));
        assert_eq!(all.encode(BusIndex(256)), None);
        assert_eq!(times(MessageKind::PowerOn, 0x7fff).encode(BusIndex(0)), None);
        // No such kind, no message, more than there can be, a success.
        for (word, status) in [(0x0001_0700, STATUS.0), (0x0300, STATUS.0), (0x8001_0300, STATUS.0), (0x0001_0300, 0)] {
            assert_eq!(Refusal::decode(word, status), None, "{word:#x}");
        }
    }

    #[test]
    fn rules_are_used_up_one_by_one() {
        let mut refusals = Refusals::default();
        let (version, entry) = (Request::QueryProtocolVersion { version: 0 }, Request::BusD0Entry { window: Gpa(0) });
        refusals.add(times(MessageKind::PowerOn, 1));
        refusals.add(times(MessageKind::Version, 2));
        assert_eq!([(); 3].map(|()| refusals.check(&version)), [Some(STATUS), Some(STATUS), None]);
        assert_eq!([(); 2].map(|()| refusals.check(&entry)), [Some(STATUS), None]);
        assert_eq!(refusals.check(&Request::BusD0Exit), None);
        assert_eq!(refusals.refused(), 3);
    }

    #[test]
    fn a_rule_takes_the_place_of_another_until_all_are_removed() {
        let mut refusals = Refusals::default();
        let version = Request::QueryProtocolVersion { version: 0 };
        refusals.add(times(MessageKind::Version, 1));
        let mismatch = NtStatus::REVISION_MISMATCH;
        refusals.add(Refusal { kind: MessageKind::Version, status: mismatch, occurrences: Occurrences::All });
        assert_eq!([(); 4].map(|()| refusals.check(&version)), [Some(mismatch); 4]);
        refusals.clear();
        assert_eq!((refusals.check(&version), refusals.refused()), (None, 4));
    }

    #[test]
    fn low_mmio_space_ends_at_4_gib() {
        let mut refusals = Refusals::default();
        refusals.add(times(MessageKind::PowerOnLow, 2));
        let entry = |window| Request::BusD0Entry { window: Gpa(window) };
        let answers = [0xffff_f000, 0x1_0000_0000, 0xd000_0000, 0xd000_0000].map(|w| refusals.check(&entry(w)));
        assert_eq!(answers, [Some(STATUS), None, Some(STATUS), None]);
    }

    proptest! {
        #[test]
        fn what_can_be_decoded_is_encoded_the_same(word: u32, status: u32) {
            if let Some((bus, refusal)) = Refusal::decode(word, status) {
                prop_assert_eq!(refusal.encode(bus), Some((word, status)));
            }
        }
    }
}
