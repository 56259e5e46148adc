// SPDX-License-Identifier: GPL-2.0
//! Fault injection: calls that fail although nothing is wrong with them.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::hypercall::codes::CallCode;
use crate::status::Status;

/// Most rules at once.
pub const RULES_MAX: usize = 16;

/// How often a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrences {
    /// To so many calls in a row.
    Times(NonZeroU16),
    /// To every call from the first on.
    All,
}

/// What a call that a rule answers leaves in its output block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputBlock {
    /// What was there.
    Untouched,
    /// Garbage: a guest that reads it after a failure is mistaken.
    Garbage,
}

/// How a call is answered instead of being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The status. Success without `elements` is a lie: nothing was done.
    pub status: Status,
    /// The output block.
    pub output: OutputBlock,
    /// For a rep call: carry out so many elements before answering. With success, a real hypervisor's pause.
    pub elements: Option<NonZeroU16>,
}

/// A rule. Its text form is `CODE:STATUS:FIRST:COUNT[:garbage][:reps=N]`: code and status in hexadecimal, the others
/// in decimal, COUNT may be `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which calls.
    pub code: CallCode,
    /// First call that the rule answers, 1 being the next one.
    pub first: NonZeroU16,
    /// How many.
    pub occurrences: Occurrences,
    /// The answer.
    pub action: Action,
}

impl Rule {
    /// A host that does not know list flushes.
    pub const LIST_FLUSH_UNKNOWN: Rule = Rule {
        code: CallCode::FLUSH_DEVICE_DOMAIN_LIST,
        first: NonZeroU16::MIN,
        occurrences: Occurrences::All,
        action: Action { status: Status::INVALID_HYPERCALL_CODE, output: OutputBlock::Untouched, elements: None },
    };

    /// Whether the rule answers the `n`th call (from 1) since it was added.
    fn applies_to(&self, n: u64) -> bool {
        let first = u64::from(self.first.get());
        match self.occurrences {
            Occurrences::All => n >= first,
            Occurrences::Times(times) => n >= first && n - first < u64::from(times.get()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}:{}", self.code.0, self.action.status.0, self.first)?;
        match self.occurrences {
            Occurrences::All => f.write_str(":all")?,
            Occurrences::Times(times) => write!(f, ":{times}")?,
        }
        if self.action.output == OutputBlock::Garbage {
            f.write_str(":garbage")?;
        }
        match self.action.elements {
            Some(elements) => write!(f, ":reps={elements}"),
            None => Ok(()),
        }
    }
}

/// The text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseRuleError;

impl fmt::Display for ParseRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CODE:STATUS:FIRST:COUNT[:garbage][:reps=N] or list-flush-unknown expected")
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Rule, ParseRuleError> {
        if text == "list-flush-unknown" {
            return Ok(Rule::LIST_FLUSH_UNKNOWN);
        }
        let mut parts = text.split(':');
        let code = hexadecimal(parts.next()).map(CallCode)?;
        let status = hexadecimal(parts.next()).map(Status)?;
        let first = decimal(parts.next())?;
        let occurrences = match parts.next() {
            Some("all") => Occurrences::All,
            count => Occurrences::Times(decimal(count)?),
        };
        let mut action = Action { status, output: OutputBlock::Untouched, elements: None };
        for part in parts {
            match part.strip_prefix("reps=") {
                Some(elements) => action.elements = Some(decimal(Some(elements))?),
                None if part == "garbage" => action.output = OutputBlock::Garbage,
                None => return Err(ParseRuleError),
            }
        }
        Ok(Rule { code, first, occurrences, action })
    }
}

fn hexadecimal(text: Option<&str>) -> Result<u16, ParseRuleError> {
    let digits = text.ok_or(ParseRuleError)?.trim_start_matches("0x");
    // A sign is no digit, although the standard parser takes one.
    match digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => u16::from_str_radix(digits, 16).map_err(|_| ParseRuleError),
        false => Err(ParseRuleError),
    }
}

fn decimal(text: Option<&str>) -> Result<NonZeroU16, ParseRuleError> {
    text.and_then(|digits| digits.parse().ok()).ok_or(ParseRuleError)
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// The rules in force.
#[derive(Default)]
pub struct Injector {
    rules: Vec<Active>,
}

struct Active {
    rule: Rule,
    seen: u64,
}

impl Injector {
    /// No rules.
    pub const fn new() -> Self {
        Injector { rules: Vec::new() }
    }

    /// Adds a rule, which counts calls from now on.
    ///
    /// # Errors
    /// [`TableFull`] with [`RULES_MAX`] rules.
    pub fn add(&mut self, rule: Rule) -> Result<(), TableFull> {
        if self.rules.len() >= RULES_MAX {
            return Err(TableFull);
        }
        self.rules.push(Active { rule, seen: 0 });
        Ok(())
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Number of rules.
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// To be asked once per call: how to answer it; `None`: carry it out. The oldest rule that applies decides.
    pub fn check(&mut self, code: CallCode) -> Option<Action> {
        let mut action = None;
        for active in self.rules.iter_mut().filter(|active| active.rule.code == code) {
            active.seen = active.seen.saturating_add(1);
            if active.rule.applies_to(active.seen) {
                action = action.or(Some(active.rule.action));
            }
        }
        action
    }
}

/// Arbitrary rules, for tests here and of the options.
#[cfg(test)]
pub(crate) mod strategy {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_rule() -> impl Strategy<Value = Rule> {
        let times = prop_oneof![Just(Occurrences::All), any::<NonZeroU16>().prop_map(Occurrences::Times)];
        let output = prop_oneof![Just(OutputBlock::Untouched), Just(OutputBlock::Garbage)];
        let elements = proptest::option::of(any::<NonZeroU16>());
        (any::<u16>(), any::<u16>(), any::<NonZeroU16>(), times, output, elements).prop_map(
            |(code, status, first, occurrences, output, elements)| Rule {
                code: CallCode(code),
                first,
                occurrences,
                action: Action { status: Status(status), output, elements },
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn statuses(rules: &[&str], code: u16, calls: usize) -> Vec<u16> {
        let mut injector = Injector::new();
        for rule in rules {
            injector.add(rule.parse().unwrap()).unwrap();
        }
        let answers = core::iter::repeat_with(|| injector.check(CallCode(code)));
        answers.take(calls).map(|action| action.map_or(0, |action| action.status.0)).collect()
    }

    #[test]
    fn occurrences() {
        assert_eq!(statuses(&["b2:57:2:2"], 0xb2, 5), [0, 0x57, 0x57, 0, 0]);
        assert_eq!(statuses(&["b2:57:3:all"], 0xb2, 5), [0, 0, 0x57, 0x57, 0x57]);
        assert_eq!(statuses(&["b2:57:1:all"], 0xb1, 2), [0, 0]);
        assert_eq!(statuses(&["b2:5:1:1", "b2:b:1:2"], 0xb2, 3), [5, 0xb, 0]);
        assert_eq!(statuses(&["list-flush-unknown"], 0xd1, 2), [2, 2]);
    }

    #[test]
    fn text_form() {
        let rule: Rule = "0x125:0x2:1:all:garbage".parse().unwrap();
        assert_eq!(rule.action.output, OutputBlock::Garbage);
        assert_eq!(rule.to_string(), "125:2:1:all:garbage");
        let rule: Rule = "d1:0:4:1:reps=2".parse().unwrap();
        assert_eq!(rule.action.elements.map(NonZeroU16::get), Some(2));
        assert_eq!("d1:2:1:all".parse(), Ok(Rule::LIST_FLUSH_UNKNOWN));
        for text in [
            "",
            "b2",
            "b2:57",
            "b2:57:1",
            "b2:57:0:1",
            "b2:57:1:0",
            "10000:5:1:1",
            "b2:57:1:1:x",
            "b2:+5:1:1",
            "b2:57:1:1:reps=0",
            "b2:57:1:65536",
            ":5:1:1",
            "b2::1:1",
        ] {
            assert_eq!(text.parse::<Rule>(), Err(ParseRuleError), "{text}");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut injector = Injector::new();
        for _ in 0..RULES_MAX {
            assert_eq!(injector.add(Rule::LIST_FLUSH_UNKNOWN), Ok(()));
        }
        assert_eq!(injector.add(Rule::LIST_FLUSH_UNKNOWN), Err(TableFull));
        injector.clear();
        assert_eq!((injector.count(), injector.check(CallCode(0xd1))), (0, None));
    }

    proptest! {
        #[test]
        fn text_survives_the_round_trip(rule in strategy::any_rule()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<Rule>();
        }
    }
}
