// SPDX-License-Identifier: GPL-2.0
//! Fault injection: calls that fail although nothing is wrong with them.

use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use core::str::FromStr;

use crate::hypercall::codes::CallCode;
use crate::hypercall::control_word::ResultWord;
use crate::ids::DomainId;
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

/// What becomes of a call that a rule applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// It is answered with the status instead of being carried out.
    #[default]
    Answered,
    /// It is answered with this result word instead of being carried out; the rule's status says nothing.
    Word(ResultWord),
    /// It is carried out, and these bits of the result word are set besides; the rule's status and output say nothing.
    Marked(NonZeroU64),
    /// It is carried out. Of a list at most so many elements are done, which the guest is told with success: it has to
    /// call again for the rest. The rule's status and output say nothing.
    Slice(NonZeroU16),
    /// It is carried out. Of a list at most so many elements are done at a time; the guest's instruction is executed
    /// again for the rest, with the start index in its control word. The rule's status and output say nothing.
    Resume(NonZeroU16),
    /// It is carried out after so many turns of an empty loop; the rule's status and output say nothing.
    Slow(NonZeroU32),
    /// The device that it names is withdrawn, and only then it is carried out; the rule's status and output say nothing.
    DeviceGone,
    /// It is answered with success, and nothing comes of it, as if the guest had left it out: so looks a driver that
    /// does not make the call. The rule's status and output say nothing.
    Omitted,
}

/// How a call is answered instead of being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Whether it is answered at all.
    pub effect: Effect,
    /// The status. Success without `elements` is a lie: nothing was done.
    pub status: Status,
    /// The output block.
    pub output: OutputBlock,
    /// For a rep call: carry out so many elements before answering. With success, a real hypervisor's pause; none with
    /// success is a hypervisor that makes no progress.
    pub elements: Option<u16>,
}

/// A rule. Its text form is `CODE:STATUS:FIRST:COUNT` and any of the words `domain=N`, `reps=N`, `garbage` and one of
/// `result=HEX`, `bits=HEX`, `slice=N`, `resume=N`, `slow=N`, `gone`, `omitted`, each behind a colon: code, status, result
/// and bits in hexadecimal, the others in decimal; COUNT may be `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which calls.
    pub code: CallCode,
    /// Only those that name this domain.
    pub domain: Option<DomainId>,
    /// First call that the rule answers, 1 being the next one.
    pub first: NonZeroU16,
    /// How many.
    pub occurrences: Occurrences,
    /// The answer.
    pub action: Action,
}

impl Action {
    /// The call does nothing and ends with a status.
    pub const fn status(status: Status) -> Action {
        Action { effect: Effect::Answered, status, output: OutputBlock::Untouched, elements: None }
    }
}

impl Rule {
    /// A host that does not know list flushes.
    pub const LIST_FLUSH_UNKNOWN: Rule = Rule {
        code: CallCode::FLUSH_DEVICE_DOMAIN_LIST,
        domain: None,
        first: NonZeroU16::MIN,
        occurrences: Occurrences::All,
        action: Action::status(Status::INVALID_HYPERCALL_CODE),
    };

    /// Whether the rule is about such a call.
    fn concerns(&self, code: CallCode, domain: Option<DomainId>) -> bool {
        self.code == code && (self.domain.is_none() || self.domain == domain)
    }

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
        if let Some(DomainId(domain)) = self.domain {
            write!(f, ":domain={domain}")?;
        }
        match self.action.effect {
            Effect::Answered => {}
            Effect::Word(ResultWord(word)) => write!(f, ":result={word:x}")?,
            Effect::Marked(bits) => write!(f, ":bits={bits:x}")?,
            Effect::Slice(elements) => write!(f, ":slice={elements}")?,
            Effect::Resume(elements) => write!(f, ":resume={elements}")?,
            Effect::Slow(turns) => write!(f, ":slow={turns}")?,
            Effect::DeviceGone => f.write_str(":gone")?,
            Effect::Omitted => f.write_str(":omitted")?,
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
        f.write_str(
            "CODE:STATUS:FIRST:COUNT[:domain=N][:reps=N][:garbage][:result=HEX|:bits=HEX|:slice=N|:resume=N|:slow=N|:gone|\
             :omitted] or list-flush-unknown expected",
        )
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Rule, ParseRuleError> {
        if text == "list-flush-unknown" {
            return Ok(Rule::LIST_FLUSH_UNKNOWN);
        }
        let mut parts = text.split(':');
        let code = hexadecimal(parts.next(), u16::from_str_radix).map(CallCode)?;
        let status = hexadecimal(parts.next(), u16::from_str_radix).map(Status)?;
        let first = decimal(parts.next())?;
        let occurrences = match parts.next() {
            Some("all") => Occurrences::All,
            count => Occurrences::Times(decimal(count)?),
        };
        let (mut action, mut domain) = (Action::status(status), None);
        for part in parts {
            match part.split_once('=') {
                None if part == "garbage" => action.output = OutputBlock::Garbage,
                None if part == "gone" => action.effect = Effect::DeviceGone,
                None if part == "omitted" => action.effect = Effect::Omitted,
                Some(("reps", elements)) => action.elements = Some(decimal(Some(elements))?),
                Some(("slow", turns)) => action.effect = Effect::Slow(decimal(Some(turns))?),
                Some(("slice", elements)) => action.effect = Effect::Slice(decimal(Some(elements))?),
                Some(("resume", elements)) => action.effect = Effect::Resume(decimal(Some(elements))?),
                Some(("result", word)) => {
                    action.effect = Effect::Word(ResultWord(hexadecimal(Some(word), u64::from_str_radix)?));
                }
                Some(("bits", bits)) => {
                    let bits = hexadecimal(Some(bits), u64::from_str_radix)?;
                    action.effect = Effect::Marked(NonZeroU64::new(bits).ok_or(ParseRuleError)?);
                }
                Some(("domain", id)) => domain = Some(DomainId(decimal::<NonZeroU32>(Some(id))?.get())),
                _ => return Err(ParseRuleError),
            }
        }
        Ok(Rule { code, domain, first, occurrences, action })
    }
}

fn hexadecimal<T>(
    text: Option<&str>,
    parse: fn(&str, u32) -> Result<T, core::num::ParseIntError>,
) -> Result<T, ParseRuleError> {
    let digits = text.ok_or(ParseRuleError)?.trim_start_matches("0x");
    // A sign is no digit, although the standard parser takes one.
    match digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => parse(digits, 16).map_err(|_| ParseRuleError),
        false => Err(ParseRuleError),
    }
}

fn decimal<T: FromStr>(text: Option<&str>) -> Result<T, ParseRuleError> {
    text.and_then(|digits| digits.parse().ok()).ok_or(ParseRuleError)
}

/// What a test interface that adds a rule in steps has said of it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qualifiers {
    /// See [`Rule::domain`].
    pub domain: Option<DomainId>,
    /// See [`Action::elements`].
    pub elements: Option<u16>,
    /// See [`Action::effect`].
    pub effect: Effect,
    /// Low half of a word that is still incomplete.
    pub low_half: u32,
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

    /// To be asked once per call, with the domain that it names: how to answer it; `None`: carry it out. The oldest rule
    /// that applies decides.
    pub fn check(&mut self, code: CallCode, domain: Option<DomainId>) -> Option<Action> {
        let mut action = None;
        for active in self.rules.iter_mut().filter(|active| active.rule.concerns(code, domain)) {
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
        let elements = proptest::option::of(any::<u16>());
        let effect = prop_oneof![
            Just(Effect::Answered),
            Just(Effect::DeviceGone),
            Just(Effect::Omitted),
            any::<NonZeroU32>().prop_map(Effect::Slow),
            any::<u64>().prop_map(|word| Effect::Word(ResultWord(word))),
            any::<NonZeroU64>().prop_map(Effect::Marked),
            any::<NonZeroU16>().prop_map(Effect::Slice),
            any::<NonZeroU16>().prop_map(Effect::Resume),
        ];
        let domain = proptest::option::of(any::<NonZeroU32>().prop_map(|id| DomainId(id.get())));
        let calls = (any::<u16>(), domain, any::<NonZeroU16>(), times);
        let answer = (effect, any::<u16>().prop_map(Status), output, elements);
        (calls, answer).prop_map(|((code, domain, first, occurrences), (effect, status, output, elements))| Rule {
            code: CallCode(code),
            domain,
            first,
            occurrences,
            action: Action { effect, status, output, elements },
        })
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
        let answers = core::iter::repeat_with(|| injector.check(CallCode(code), None));
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
    fn a_rule_can_be_about_one_domain() {
        let mut injector = Injector::new();
        injector.add("d1:71:2:1:domain=7".parse().unwrap()).unwrap();
        let mut applies = |domain| injector.check(CallCode(0xd1), domain).is_some();
        let domains = [Some(7), Some(8), None, Some(7), Some(7)];
        assert_eq!(domains.map(|domain| applies(domain.map(DomainId))), [false, false, false, true, false]);
    }

    #[test]
    fn text_form() {
        let rule: Rule = "0x125:0x2:1:all:garbage".parse().unwrap();
        assert_eq!(rule.action.output, OutputBlock::Garbage);
        assert_eq!(rule.to_string(), "125:2:1:all:garbage");
        let rule: Rule = "d1:0:4:1:reps=2".parse().unwrap();
        assert_eq!(rule.action.elements, Some(2));
        let rule: Rule = "d1:0:4:1:reps=0".parse().unwrap();
        assert_eq!(rule.action.elements, Some(0));
        let rule: Rule = "d1:0:1:all:result=0xffffffffffffffff".parse().unwrap();
        assert_eq!(rule.action.effect, Effect::Word(ResultWord(u64::MAX)));
        assert_eq!(rule.to_string(), "d1:0:1:all:result=ffffffffffffffff");
        for text in ["d0:0:1:1:bits=f00000000000", "d1:0:1:all:slice=1", "d1:0:1:all:resume=508"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("d1:2:1:all".parse(), Ok(Rule::LIST_FLUSH_UNKNOWN));
        let rule: Rule = "b2:0:3:1:gone".parse().unwrap();
        assert_eq!(rule.action.effect, Effect::DeviceGone);
        let rule: Rule = "b1:0:1:all:domain=4:slow=9".parse().unwrap();
        assert_eq!((rule.domain, rule.to_string().as_str()), (Some(DomainId(4)), "b1:0:1:all:domain=4:slow=9"));
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
            "b2:57:1:1:reps=65536",
            "b2:57:1:1:result=",
            "b2:57:1:1:result=10000000000000000",
            "b2:57:1:1:result=-1",
            "b2:57:1:1:bits=0",
            "b2:57:1:1:slice=0",
            "b2:57:1:1:resume=0",
            "b2:57:1:1:slow=0",
            "b2:57:1:1:gone=1",
            "b2:57:1:1:domain=x",
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
        assert_eq!((injector.count(), injector.check(CallCode(0xd1), None)), (0, None));
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
