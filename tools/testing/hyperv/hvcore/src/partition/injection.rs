// SPDX-License-Identifier: GPL-2.0
//! Calls that a fault-injection rule applies to.

use core::fmt;

use super::Partition;
use crate::counters::Counters;
use crate::hypercall::control_word::Outcome;
use crate::hypercall::dispatch::{Call, IommuCall, Request};
use crate::ids::{DomainId, VpIndex};
use crate::inject::{Action, Effect, OutputBlock};
use crate::iommu::capabilities::Presence;
use crate::iommu::layout;
use crate::platform::{LogLevel, Platform};
use crate::status::Status;
use crate::vpci::Plug;

impl Partition {
    pub(super) fn call(&mut self, platform: &mut impl Platform, vp: VpIndex, mut request: Request<'_>) -> Outcome {
        let outcome = self.answer(platform, vp, &mut request);
        self.note_told(platform, &request, outcome);
        outcome
    }

    fn answer(&mut self, platform: &mut impl Platform, vp: VpIndex, request: &mut Request<'_>) -> Outcome {
        // A host without the IOMMU's calls has none of them to fail either.
        let absent = request.spec.code.is_iommu() && self.iommu.presence() == Presence::Absent;
        match self.injector.check(request.spec.code, || named_domain(request)).filter(|_| !absent) {
            None if absent => self.carry_out(platform, vp, request),
            None => self.answer_by_mood(platform, vp, request),
            Some(action) => self.answer_by_rule(platform, vp, request, action),
        }
    }

    fn answer_by_rule(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: &mut Request<'_>,
        action: Action,
    ) -> Outcome {
        Counters::add(&mut self.counters.injected, 1);
        platform.log(LogLevel::Info, format_args!("inject: {}: {}", request.spec.code, Describe(action)));
        match action.effect {
            Effect::Answered => {}
            Effect::Slow(turns) => {
                for _ in 0..turns.get() {
                    core::hint::spin_loop();
                }
                return self.carry_out(platform, vp, request);
            }
            Effect::DeviceGone => {
                self.withdraw_named(platform, request);
                return self.carry_out(platform, vp, request);
            }
        }
        if let (Call::Iommu(IommuCall::Create), Some(domain)) = (request.spec.call, named_domain(request)) {
            self.uncertain.push(domain);
        }
        if let (Call::Iommu(call), true, None) = (request.spec.call, action.status.is_success(), action.elements) {
            self.believed(platform, call, request);
        }
        if let (OutputBlock::Garbage, Some(gpa)) = (action.output, request.output) {
            const GARBAGE: [u8; 64] = [0xa5; 64];
            let bytes = GARBAGE.get(..request.spec.output_bytes).unwrap_or(&GARBAGE);
            // The block was checked to be guest RAM; if it is not any more, there is nothing to spoil.
            let _ = platform.write(gpa, bytes);
        }
        let Some(mut list) = request.list else { return action.status.into() };
        let reps_completed = match (action.elements, action.status) {
            (Some(elements), _) => {
                list.limit(elements.get());
                request.list = Some(list);
                let outcome = self.carry_out(platform, vp, request);
                if !outcome.status.is_success() {
                    return outcome;
                }
                outcome.reps_completed
            }
            // A lie must not leave the guest in its rep loop for ever.
            (None, Status::SUCCESS) => list.indices().end,
            (None, _) => list.indices().start,
        };
        Outcome { status: action.status, reps_completed }
    }

    /// Whether a call flushes or deletes a domain that may exist as far as the guest can know: its creation failed without having
    /// been tried.
    pub(super) fn is_uncertain(&self, call: IommuCall, request: &Request<'_>) -> bool {
        matches!(call, IommuCall::Flush | IommuCall::Delete)
            && named_domain(request).is_some_and(|domain| self.uncertain.contains(&domain))
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
            Effect::Slow(turns) => write!(f, "{turns} turns late"),
            Effect::DeviceGone => f.write_str("its device is withdrawn"),
        }
    }
}
