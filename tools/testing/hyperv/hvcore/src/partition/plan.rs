// SPDX-License-Identifier: GPL-2.0
//! What is decided about a call beside the road: how much of it is carried out, and what the guest is told. An honest
//! host's plan is [`Plan::HONEST`].

use core::num::NonZeroU64;

use crate::hostile::{Deed, Returned};
use crate::hypercall::control_word::{Outcome, ResultWord};
use crate::hypercall::list::Span;
use crate::hypercall::schedule::Portion;
use crate::status::Status;

/// How much of a call is carried out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// Of its list so many elements at most; all of a call without one.
    AtMost(u16),
    /// Of its list a portion, and the rest when the guest's instruction is executed again.
    InPortions(Portion),
}

/// What the guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// What the call came to.
    Truth,
    /// That, with these bits of the result word set besides.
    Marked(u64),
    /// This; nothing was done.
    Instead(Outcome),
    /// This status and the elements that were done; but a call that failed by itself keeps its own.
    After(Status),
    /// This word; but a call that failed by itself, in another way than the word says, keeps its own.
    WordAfter(ResultWord),
    /// This word; but one that means success stands only if nothing failed by itself.
    Word(ResultWord),
}

/// What the output block holds afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// What the deed left in it.
    Kept,
    /// The first so many of these bytes; behind them, what the deed left.
    Replaced(Returned),
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// Nobody: the call is carried out.
    Nobody,
    /// A rule of fault injection.
    Rule,
    /// A hostile host.
    Mood,
}

/// How a call is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) amount: Amount,
    pub(super) output: Aftermath,
    pub(super) told: Told,
    pub(super) author: Author,
}

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is over.
    Word(ResultWord),
    /// It is to be made again.
    Pause {
        /// From this element on.
        start: u16,
        /// For so much of the list.
        next: Portion,
    },
}

impl Plan {
    /// The call is carried out; of its list what the schedule draws.
    pub(super) const HONEST: Plan = Plan::portions(Portion::Drawn);

    /// The call is carried out, so much of its list at a time.
    pub(super) const fn portions(portion: Portion) -> Plan {
        Plan { amount: Amount::InPortions(portion), ..Plan::whole(Author::Nobody) }
    }

    /// The call is carried out at once.
    pub(super) const fn whole(author: Author) -> Plan {
        Plan { amount: Amount::All, output: Aftermath::Kept, told: Told::Truth, author }
    }

    /// A rule answers the call, and nothing is done.
    pub(super) const fn instead(outcome: Outcome) -> Plan {
        Plan { amount: Amount::Nothing, told: Told::Instead(outcome), ..Plan::whole(Author::Rule) }
    }

    /// A rule has the call carried out, of its list so many elements at most.
    pub(super) const fn at_most(elements: u16) -> Plan {
        Plan { amount: Amount::AtMost(elements), ..Plan::whole(Author::Rule) }
    }

    /// A rule has the call carried out, and bits of the result set.
    pub(super) const fn marked(bits: NonZeroU64) -> Plan {
        Plan { told: Told::Marked(bits.get()), ..Plan::whole(Author::Rule) }
    }
}

impl Amount {
    /// What a hostile host does.
    pub(super) const fn of_host(deed: Deed) -> Amount {
        match deed {
            Deed::Whole => Amount::All,
            Deed::Part(elements) => Amount::AtMost(elements),
            Deed::Nothing => Amount::Nothing,
        }
    }
}

impl Told {
    /// The result word, after what was done, if anything was, came to this.
    pub(super) fn word(self, done: Option<Outcome>) -> ResultWord {
        let failed = done.filter(|done| !done.status.is_success());
        let truth = done.unwrap_or(Status::OPERATION_FAILED.into());
        match (self, failed) {
            (Told::Truth, _) => truth.word(),
            (Told::Marked(bits), _) => ResultWord(truth.word().0 | bits),
            (Told::Instead(outcome), _) => outcome.word(),
            (Told::After(_), Some(failed)) => failed.word(),
            (Told::After(status), None) => Outcome { status, ..truth }.word(),
            (Told::WordAfter(word), Some(failed)) if failed.status != word.status() => failed.word(),
            (Told::Word(word), Some(failed)) if word.status().is_success() => failed.word(),
            (Told::WordAfter(word) | Told::Word(word), _) => word,
        }
    }
}

/// The elements to process now, of those that a call asks for; all where nobody says how many.
pub(super) fn elements(span: Option<Span>, most: Option<u16>) -> Option<Span> {
    match (span, most) {
        (Some(span), Some(most)) => Some(span.at_most(most)),
        _ => span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Outcome = Outcome { status: Status::SUCCESS, reps_completed: 3 };
    const FAILED: Outcome = Outcome { status: Status(5), reps_completed: 1 };

    #[test]
    fn what_a_guest_is_told() {
        let words = |told: Told| [Some(DONE), Some(FAILED), None].map(|done| told.word(done).0);
        assert_eq!(words(Told::Truth), [3 << 32, 1 << 32 | 5, 0x71]);
        assert_eq!(words(Told::Marked(1 << 63)), [1 << 63 | 3 << 32, 1 << 63 | 1 << 32 | 5, 1 << 63 | 0x71]);
        assert_eq!(words(Told::Instead(Outcome { status: Status(6), reps_completed: 2 })), [2 << 32 | 6; 3]);
        assert_eq!(words(Told::After(Status(6)))[..2], [3 << 32 | 6, 1 << 32 | 5]);
        for (word, after) in [(7, 1 << 32 | 5), (5, 5), (0, 1 << 32 | 5)] {
            assert_eq!(words(Told::WordAfter(ResultWord(word))), [word, after, word], "{word}");
        }
        for (word, after) in [(7, 7), (5, 5), (0, 1 << 32 | 5)] {
            assert_eq!(words(Told::Word(ResultWord(word))), [word, after, word], "{word}");
        }
    }
}
