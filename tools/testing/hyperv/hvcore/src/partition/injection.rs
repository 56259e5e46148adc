// SPDX-License-Identifier: GPL-2.0
//! Calls that a fault-injection rule applies to.

use core::fmt;

use super::Partition;
use crate::counters::Counters;
use crate::hypercall::control_word::{Outcome, ResultWord};
use crate::hypercall::dispatch::{Call, Request, Rest};
use crate::hypercall::schedule::Portion;
use crate::ids::{DomainId, VpIndex};
use crate::inject::{Action, Effect, OutputBlock};
use crate::iommu::capabilities::Presence;
use crate::iommu::layout;
use crate::platform::{LogLevel, Platform};
use crate::status::Status;
use crate::vpci::Plug;

/// What a call comes to.
pub(super) enum Answer {
    /// It is over.
    Outcome(Outcome),
    /// It is over, with a word that no outcome has.
    Word(ResultWord),
    /// It is to be made again.
    Pause {
        /// From this element on.
        start: u16,
        /// For so much of the list.
        next: Portion,
    },
}

impl Partition {
    /// Carries out a call that has just begun, or does with it what a rule or the host's mood says.
    pub(super) fn call(&mut self, platform: &mut impl Platform, vp: VpIndex, mut request: Request<'_>) -> Answer {
        let answer = self.answer(platform, vp, &mut request);
        match answer {
            Answer::Outcome(outcome) => self.note_told(platform, &request, outcome.word()),
            Answer::Word(word) => self.note_told(platform, &request, word),
            Answer::Pause { .. } => {}
        }
        answer
    }

    fn answer(&mut self, platform: &mut impl Platform, vp: VpIndex, request: &mut Request<'_>) -> Answer {
        // A host without the IOMMU's calls has none of them to fail either.
        let absent = request.spec.code.is_iommu() && self.iommu.presence() == Presence::Absent;
        match self.injector.check(request.spec.code, || named_domain(request)).filter(|_| !absent) {
            None if absent || !self.hostility.is_at_work() => self.in_portions(platform, vp, request, Portion::Drawn),
            None => Answer::Outcome(self.answer_by_mood(platform, vp, request)),
            Some(action) => self.answer_by_rule(platform, vp, request, action),
        }
    }

    /// Carries out a call; of its list a portion, with a pause before the rest.
    pub(super) fn in_portions(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
        portion: Portion,
    ) -> Answer {
        let rest = match &mut request.list {
            Some(list) => self.schedule.elements(portion).map_or(Rest::None, |elements| list.limit(elements)),
            None => Rest::None,
        };
        let outcome = self.carry_out(platform, vp, request);
        match (rest, outcome.status) {
            (Rest::Some, Status::SUCCESS) => Answer::Pause { start: outcome.reps_completed, next: portion },
            _ => Answer::Outcome(outcome),
        }
    }

    fn answer_by_rule(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
        action: Action,
    ) -> Answer {
        Counters::add(&mut self.counters.injected, 1);
        platform.log(LogLevel::Info, format_args!("inject: {}: {}", request.spec.code, Describe(action)));
        match action.effect {
            Effect::Answered => Answer::Outcome(self.answer_with(platform, vp, request, action, action.status)),
            Effect::Word(word) => {
                let before = self.answer_with(platform, vp, request, action, word.status());
                match (action.elements, before.status) {
                    // An element that is not sound is the guest's fault, whatever the rule says.
                    (Some(_), status) if status != word.status() => Answer::Outcome(before),
                    _ => Answer::Word(word),
                }
            }
            Effect::Marked(bits) => {
                let ResultWord(word) = self.carry_out(platform, vp, request).word();
                Answer::Word(ResultWord(word | bits.get()))
            }
            Effect::Slice(elements) => {
                if let Some(list) = &mut request.list {
                    list.limit(elements.get());
                }
                Answer::Outcome(self.carry_out(platform, vp, request))
            }
            Effect::Resume(elements) => self.in_portions(platform, vp, request, Portion::AtMost(elements.get())),
            Effect::Slow(turns) => {
                for _ in 0..turns.get() {
                    core::hint::spin_loop();
                }
                Answer::Outcome(self.carry_out(platform, vp, request))
            }
            Effect::Omitted => {
                let reps_completed = request.list.as_ref().map_or(0, |list| list.indices().end);
                Answer::Outcome(Outcome { status: Status::SUCCESS, reps_completed })
            }
            Effect::DeviceGone => {
                self.withdraw_named(platform, request);
                Answer::Outcome(self.carry_out(platform, vp, request))
            }
        }
    }

    /// Answers with `status`, after so many elements of the list as the rule wants done.
    fn answer_with(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
        action: Action,
        status: Status,
    ) -> Outcome {
        if let Call::Iommu(call) = request.spec.call {
            self.doubt.answered(call, request, status);
        }
        if let (Call::Iommu(call), true, None) = (request.spec.call, status.is_success(), action.elements) {
            self.believed(platform, call, request);
        }
        if let (OutputBlock::Garbage, Some(gpa)) = (action.output, request.output) {
            const GARBAGE: [u8; 64] = [0xa5; 64];
            let bytes = GARBAGE.get(..request.spec.output_bytes).unwrap_or(&GARBAGE);
            // The block was checked to be guest RAM; if it is not any more, there is nothing to spoil.
            let _ = platform.write(gpa, bytes);
        }
        let Some(list) = &mut request.list else { return status.into() };
        let indices = list.indices();
        let reps_completed = match (action.elements, status) {
            (Some(0), _) => indices.start,
            (Some(elements), _) => {
                list.limit(elements);
                let outcome = self.carry_out(platform, vp, request);
                if !outcome.status.is_success() {
                    return outcome;
                }
                outcome.reps_completed
            }
            // A lie must not leave the guest in its rep loop for ever.
            (None, Status::SUCCESS) => indices.end,
            (None, _) => indices.start,
        };
        Outcome { status, reps_completed }
    }

    /// The device that the call names is pulled out, with all that is on its bus.
    fn withdraw_named(&mut self, platform: &mut impl Platform, request: &Request<'_>) {
        let Call::Iommu(call) = request.spec.call else { return };
        let named = layout::named_device(call, request.input).and_then(|id| self.iommu.domains().device(id));
        let bus = named.and_then(|(_, _, index)| self.devices.get(index.0)).map(|device| device.bus);
        if let Some(bus) = bus {
            // It cannot fail: the device is on this bus.
            let _ = self.set_plug(platform, bus, Plug::Unplugged);
        }
    }
}

/// The domain that a call names, if it names one.
pub(super) fn named_domain(request: &Request<'_>) -> Option<DomainId> {
    match request.spec.call {
        Call::Iommu(call) => layout::named_domain(call, request.input),
        _ => None,
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
