// SPDX-License-Identifier: GPL-2.0
//! What the rules of fault injection, and the mood of a hostile host, make of a call: a [`Plan`]. The call itself is
//! carried out elsewhere, or not.

use core::fmt;

use super::plan::{Amount, Author, Plan, Told};
use super::Partition;
use crate::counters::Counters;
use crate::hypercall::control_word::{Outcome, ResultWord};
use crate::hypercall::schedule::Portion;
use crate::inject::{Action, Effect, OutputBlock};
use crate::iommu::capabilities::Presence;
use crate::platform::{LogLevel, Platform};
use crate::request::Hypercall;
use crate::status::Status;
use crate::vpci::Plug;

impl Partition {
    /// How a call that has just begun is treated.
    pub(super) fn plan(&mut self, platform: &mut impl Platform, call: &Hypercall<'_>) -> Plan {
        // A host without the IOMMU's calls has none of them to fail either.
        let absent = call.iommu().is_some() && self.iommu.presence() == Presence::Absent;
        match self.injector.check(call.spec.code, call.subject.domain).filter(|_| !absent) {
            Some(action) => self.plan_by_rule(platform, call, action),
            None if absent => Plan::HONEST,
            None => self.plan_by_mood(platform, call),
        }
    }

    fn plan_by_rule(&mut self, platform: &mut impl Platform, call: &Hypercall<'_>, action: Action) -> Plan {
        Counters::add(&mut self.counters.injected, 1);
        platform.log(LogLevel::Info, format_args!("inject: {}: {}", call.spec.code, Describe(action)));
        match action.effect {
            Effect::Answered => {
                self.rule_answers(platform, call, action, action.status);
                answered(call, action)
            }
            Effect::Word(word) => {
                self.rule_answers(platform, call, action, word.status());
                // An element that is not sound is the guest's fault, whatever the rule says.
                Plan { told: Told::WordAfter(word), ..answered(call, action) }
            }
            Effect::Marked(bits) => Plan::marked(bits),
            Effect::Slice(elements) => Plan::at_most(elements.get()),
            Effect::Resume(elements) => Plan::portions(Portion::AtMost(elements.get())),
            Effect::Slow(turns) => {
                for _ in 0..turns.get() {
                    core::hint::spin_loop();
                }
                Plan::whole(Author::Rule)
            }
            Effect::Omitted => Plan::instead(Outcome { status: Status::SUCCESS, reps_completed: call.all_done() }),
            Effect::DeviceGone => {
                self.withdraw_named(platform, call);
                Plan::whole(Author::Rule)
            }
        }
    }

    /// A rule answers with `status`: what the guest cannot know from now on, or goes by in vain.
    fn rule_answers(&mut self, platform: &mut impl Platform, call: &Hypercall<'_>, action: Action, status: Status) {
        if let Some(which) = call.iommu() {
            self.doubt.answered(which, call.subject, status);
            if status.is_success() && action.elements.is_none() {
                self.believed(platform, which, call.subject);
            }
        }
        if let (OutputBlock::Garbage, Some(output)) = (action.output, call.output) {
            const GARBAGE: [u8; 64] = [0xa5; 64];
            // The block was checked to be guest RAM; if it is not any more, there is nothing to spoil.
            let _ = output.write(platform, GARBAGE.get(..output.bytes()).unwrap_or(&GARBAGE));
        }
    }

    /// The device that the call names is pulled out, with all that is on its bus.
    fn withdraw_named(&mut self, platform: &mut impl Platform, call: &Hypercall<'_>) {
        let named = call.subject.device.and_then(|id| self.iommu.domains().device(id));
        let bus = named.and_then(|(_, _, index)| self.devices.get(index.0)).map(|device| device.bus);
        if let Some(bus) = bus {
            // It cannot fail: the device is on this bus.
            let _ = self.set_plug(platform, bus, Plug::Unplugged);
        }
    }
}

/// The call is answered with the rule's status, after so many elements of its list as the rule wants done.
fn answered(call: &Hypercall<'_>, action: Action) -> Plan {
    let status = action.status;
    match (call.span, action.elements) {
        (Some(_), Some(elements)) if elements > 0 => {
            Plan { amount: Amount::AtMost(elements), told: Told::After(status), ..Plan::whole(Author::Rule) }
        }
        // A lie must not leave the guest in its rep loop for ever.
        (Some(_), None) if status.is_success() => Plan::instead(Outcome { status, reps_completed: call.all_done() }),
        _ => Plan::instead(Outcome { status, reps_completed: call.none_done() }),
    }
}

/// What a rule does, for the log.
struct Describe(Action);

impl fmt::Display for Describe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.effect {
            Effect::Answered => self.0.status.fmt(f),
            Effect::Word(ResultWord(word)) => write!(f, "result {word:#x}"),
            Effect::Marked(bits) => write!(f, "carried out, result with {bits:#x}"),
            Effect::Slice(elements) => write!(f, "at most {elements} elements, told"),
            Effect::Resume(elements) => write!(f, "at most {elements} elements at a time"),
            Effect::Slow(turns) => write!(f, "{turns} turns late"),
            Effect::DeviceGone => f.write_str("its device is withdrawn"),
            Effect::Omitted => f.write_str("as if it had not been made"),
        }
    }
}
