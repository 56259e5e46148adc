// SPDX-License-Identifier: GPL-2.0
//! A hostile host: it answers the IOMMU's calls at random, from a seed.
//!
//! How much of what it says is wrong differs from seed to seed, so that a guest gets far with some and nowhere with
//! others. It refuses calls, with any status and any bits that mean nothing; it carries a call out and says that it
//! failed; it carries out a part; it returns any capabilities and properties, and garbage where it returns nothing.
//!
//! # What it does not do
//! Nobody can be defended against a host that says "done" about an attachment, a detachment or a flush that it did not
//! do: such a host can as well read the guest's memory. [`Hostile`] says so only about what the guest must find out by
//! itself before anything depends on it: a domain that does not exist or translates nothing cannot be attached to, and
//! a rep call whose count makes no sense was not done.

mod answer;
pub mod random;

use core::ops::Range;

use crate::hypercall::calls::IommuCall;
use crate::status::Status;
use random::{Random, Seed};

/// How much of a call is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// All of it.
    Whole,
    /// So many elements of its list, at least one.
    Part(u16),
    /// Nothing.
    Nothing,
}

/// What the result word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The true one, with these bits set besides, which mean nothing.
    True(u64),
    /// This one.
    Given(u64),
}

/// Bytes of the largest output block.
const OUTPUT_MAX: usize = 0x18;

/// What the output block holds afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// What the deed left in it.
    True,
    /// The first so many of these bytes; behind them, what the deed left.
    Given([u8; OUTPUT_MAX], usize),
}

/// How one call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// What is done.
    pub deed: Deed,
    /// What is said about it.
    pub word: Word,
    /// What is returned besides.
    pub output: Returned,
}

impl Conduct {
    const HONEST: Conduct = Conduct { deed: Deed::Whole, word: Word::True(0), output: Returned::True };
}

/// Whether a guest comes to harm when it is told that a call was done which was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It finds out before anything depends on it.
    Harmless,
    /// It may.
    Harmful,
}

/// So many in [`PER_CALLS`] calls go wrong.
const MOODS: [u64; 4] = [2, 8, 16, 48];
const PER_CALLS: u64 = 64;

/// The host.
#[derive(Clone, Debug)]
pub struct Hostile {
    random: Random,
    mood: u64,
}

impl Hostile {
    /// The host of a seed.
    pub fn new(seed: Seed) -> Hostile {
        let mut random = Random::new(seed);
        let mood = random.one_of(&MOODS, PER_CALLS);
        Hostile { random, mood }
    }

    /// How to answer the next call; `indices` are those of its list, for a rep call.
    pub fn conduct(&mut self, call: IommuCall, indices: Option<Range<u16>>, lie: Lie) -> Conduct {
        if !self.random.happens(self.mood, PER_CALLS) {
            return Conduct { word: Word::True(answer::decoration(&mut self.random)), ..Conduct::HONEST };
        }
        match call {
            IommuCall::GetCapabilities | IommuCall::GetDeviceProperty => self.query(call),
            IommuCall::FlushList => match indices {
                Some(indices) if self.random.happens(1, 2) => self.strange_count(indices),
                indices => self.refusal(indices),
            },
            IommuCall::Create | IommuCall::Configure if lie == Lie::Harmless && self.random.happens(1, 8) => {
                let word = answer::word(Status::SUCCESS, 0) | answer::decoration(&mut self.random);
                Conduct { deed: Deed::Nothing, word: Word::Given(word), output: Returned::True }
            }
            _ => self.refusal(indices),
        }
    }

    /// The call fails, it says.
    fn refusal(&mut self, indices: Option<Range<u16>>) -> Conduct {
        let deed = match self.random.below(4) {
            0 => Deed::Whole,
            1 => match &indices {
                Some(indices) => self.part(indices),
                None => Deed::Nothing,
            },
            _ => Deed::Nothing,
        };
        let word = Word::Given(answer::failed(&mut self.random, indices));
        Conduct { deed, word, output: Returned::True }
    }

    fn part(&mut self, indices: &Range<u16>) -> Deed {
        let most = u64::from(indices.end.saturating_sub(indices.start).max(1));
        Deed::Part(1 + self.random.below(most) as u16)
    }

    /// The call succeeds, it says, and so many elements are done: too few, or more than there are.
    fn strange_count(&mut self, indices: Range<u16>) -> Conduct {
        let (deed, reps) = match self.random.below(4) {
            // What a busy host does.
            0 => match self.part(&indices) {
                Deed::Part(elements) => (Deed::Part(elements), indices.start.saturating_add(elements)),
                deed => (deed, indices.end),
            },
            // More was done than it says.
            1 => (Deed::Whole, indices.start),
            2 => (Deed::Nothing, indices.start),
            _ => {
                let room = u64::from(answer::REPS_MAX.saturating_sub(indices.end));
                let above = u64::from(indices.end) + 1 + self.random.below(room);
                let reps = if self.random.happens(1, 2) { answer::REPS_MAX } else { above as u16 };
                // With the longest list there is no number that tells.
                let deed = if room == 0 { Deed::Whole } else { Deed::Nothing };
                (deed, reps.min(answer::REPS_MAX))
            }
        };
        let word = answer::word(Status::SUCCESS, reps) | answer::decoration(&mut self.random);
        Conduct { deed, word: Word::Given(word), output: Returned::True }
    }

    /// Answers a question with what is not so, with a part of an answer, or not at all.
    fn query(&mut self, call: IommuCall) -> Conduct {
        let (mut bytes, mut len) = ([0; OUTPUT_MAX], OUTPUT_MAX);
        match call {
            IommuCall::GetCapabilities => bytes = answer::capabilities(&mut self.random),
            _ => {
                let block = answer::property(&mut self.random);
                len = block.len();
                bytes[..len].copy_from_slice(&block);
            }
        }
        if self.random.happens(1, 4) {
            len = self.random.below(len as u64 + 1) as usize;
        }
        let output = Returned::Given(bytes, len);
        let word = match self.random.below(8) {
            0..=4 => answer::word(Status::SUCCESS, 0) | answer::decoration(&mut self.random),
            _ => answer::failed(&mut self.random, None),
        };
        let deed = if self.random.happens(1, 2) { Deed::Whole } else { Deed::Nothing };
        Conduct { deed, word: Word::Given(word), output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU64;

    const CALLS: [IommuCall; 9] = [
        IommuCall::GetCapabilities,
        IommuCall::GetDeviceProperty,
        IommuCall::Create,
        IommuCall::Configure,
        IommuCall::Attach,
        IommuCall::Detach,
        IommuCall::Delete,
        IommuCall::Flush,
        IommuCall::FlushList,
    ];

    fn seed(number: u64) -> Seed {
        Seed(NonZeroU64::new(number).unwrap())
    }

    fn conducts(number: u64, call: IommuCall, lie: Lie, count: usize) -> Vec<Conduct> {
        let mut hostile = Hostile::new(seed(number));
        let indices = (call == IommuCall::FlushList).then_some(0..3);
        (0..count).map(|_| hostile.conduct(call, indices.clone(), lie)).collect()
    }

    #[test]
    fn a_seed_reproduces() {
        let (first, second) = (conducts(9, IommuCall::FlushList, Lie::Harmful, 500), 9);
        assert_eq!(first, conducts(second, IommuCall::FlushList, Lie::Harmful, 500));
        assert_ne!(first, conducts(10, IommuCall::FlushList, Lie::Harmful, 500));
    }

    #[test]
    fn moods_differ() {
        let wrong = |number| {
            let conducts = conducts(number, IommuCall::Attach, Lie::Harmful, 640);
            conducts.iter().filter(|conduct| matches!(conduct.word, Word::Given(_))).count()
        };
        let shares: Vec<usize> = (1..40).map(wrong).collect();
        assert!(shares.iter().any(|&share| share < 50), "{shares:?}");
        assert!(shares.iter().any(|&share| share > 400), "{shares:?}");
    }

    /// What nobody could be defended against.
    #[test]
    fn success_is_never_claimed_of_what_must_be_done() {
        for number in 1..60 {
            for call in [IommuCall::Attach, IommuCall::Detach, IommuCall::Flush, IommuCall::Delete] {
                for conduct in conducts(number, call, Lie::Harmless, 400) {
                    if let Word::Given(word) = conduct.word {
                        assert_ne!(word as u16, 0, "{call:?}: {conduct:?}");
                    }
                }
            }
            for conduct in conducts(number, IommuCall::Create, Lie::Harmful, 400) {
                assert!(!matches!(conduct.word, Word::Given(word) if word as u16 == 0), "{conduct:?}");
            }
        }
    }

    /// A list is said to be done as far as it is at most, unless the number tells that it is a lie.
    #[test]
    fn a_list_flush_is_done_as_far_as_it_is_believed() {
        let mut kinds = [0; 4];
        for conduct in (1..60).flat_map(|number| conducts(number, IommuCall::FlushList, Lie::Harmful, 400)) {
            let Word::Given(word) = conduct.word else { continue };
            if word as u16 != 0 {
                continue;
            }
            let reps = word >> 32 & 0xfff;
            let kind = match (conduct.deed, reps) {
                (Deed::Part(done), reps) if u64::from(done) == reps => 0,
                (Deed::Whole, 0..=3) => 1,
                (Deed::Nothing, 0) => 2,
                (Deed::Nothing, 4..) => 3,
                _ => panic!("{conduct:?}"),
            };
            kinds[kind] += 1;
        }
        assert!(kinds.iter().all(|&count| count > 50), "{kinds:?}");
    }

    #[test]
    fn every_call_is_refused_done_or_not() {
        for call in CALLS {
            let conducts: Vec<Conduct> =
                (1..40).flat_map(|number| conducts(number, call, Lie::Harmless, 400)).collect();
            let refused = |deed| {
                move |conduct: &&Conduct| {
                    conduct.deed == deed && matches!(conduct.word, Word::Given(word) if word as u16 != 0)
                }
            };
            for deed in [Deed::Whole, Deed::Nothing] {
                assert!(conducts.iter().filter(refused(deed)).count() > 20, "{call:?} {deed:?}");
            }
            assert!(conducts.contains(&Conduct::HONEST), "{call:?}");
        }
    }
}
