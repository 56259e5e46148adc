// SPDX-License-Identifier: GPL-2.0
//! The road of a hypercall: the guest's instruction, the request that its input becomes, what is done about it, the
//! result word. What is decided beside the road, by rules and by a hostile host, is a [`Plan`] that is followed here.

use core::mem;

use super::plan::{elements, Aftermath, Amount, Answer, Author, Plan};
use super::Partition;
use crate::counters::Occurrence;
use crate::hostile::Returned;
use crate::hypercall::calls::Call;
use crate::hypercall::control_word::{ControlWord, Outcome, ResultWord};
use crate::hypercall::frame::{Frame, Output};
use crate::hypercall::list::Span;
use crate::hypercall::schedule::{Arrival, Registers};
use crate::ids::VpIndex;
use crate::platform::{AccessSize, LogLevel, Platform};
use crate::request::messages::{MmioRead, PostMessage};
use crate::request::refusal::{Ended, Refusal};
use crate::request::{Hypercall, Request};
use crate::status::Status;

/// What follows the guest's instruction that makes a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next instruction, with this word in RAX.
    Done(ResultWord),
    /// The same instruction, with this word in RCX; other processors should get a turn first.
    Again {
        /// The control word.
        control: u64,
    },
    /// An invalid-opcode exception: the hypercall page is not in force.
    InvalidOpcode,
    /// None: the machine is switched off.
    PoweredOff,
}

impl Partition {
    /// A processor's instruction that makes a hypercall.
    pub fn vmmcall(&mut self, platform: &mut impl Platform, vp: VpIndex, registers: Registers) -> Progress {
        if self.page.is_enabled() {
            return self.step(platform, vp, registers);
        }
        let code = ControlWord::code_of(registers.control);
        self.violation(platform, format_args!("vp {} called {code} without a hypercall page", vp.0));
        Progress::InvalidOpcode
    }

    /// Carries out a hypercall to its end, whether or not the hypercall page is in force, for callers that are no guest:
    /// `control` is RCX, `rdx` and `r8` are those registers. Returns the result word for RAX.
    pub fn hypercall(&mut self, platform: &mut impl Platform, vp: VpIndex, control: u64, rdx: u64, r8: u64) -> u64 {
        let mut registers = Registers { control, rdx, r8 };
        loop {
            match self.step(platform, vp, registers) {
                Progress::Done(word) => return word.0,
                Progress::Again { control } => registers.control = control,
                // Only `vmmcall` looks at the page.
                Progress::InvalidOpcode | Progress::PoweredOff => return u64::MAX,
            }
        }
    }

    fn step(&mut self, platform: &mut impl Platform, vp: VpIndex, registers: Registers) -> Progress {
        let Registers { control, .. } = registers;
        let code = ControlWord::code_of(control);
        let arrival = self.schedule.arrive(vp, registers);
        match arrival {
            Arrival::Held => return Progress::Again { control },
            Arrival::New => self.counters.add_call(code),
            Arrival::Rest(_) => {}
        }
        let mut buffer = mem::take(&mut self.buffer);
        let answer = match Frame::fetch(self.offered(), platform, &mut buffer, registers) {
            Ok(frame) => {
                let call = Hypercall::decode(&frame);
                let plan = match arrival {
                    Arrival::Rest(portion) => Plan::portions(portion),
                    Arrival::New | Arrival::Held => self.plan(platform, &call),
                };
                self.follow(platform, vp, &call, plan)
            }
            Err(status) => {
                self.refuse_form(platform, registers, status);
                Answer::Word(Outcome::from(status).word())
            }
        };
        self.buffer = buffer;
        let word = match answer {
            Answer::Word(word) => word,
            Answer::Pause { start, next } => {
                let control = ControlWord::with_start(control, start);
                self.schedule.pause(vp, Registers { control, ..registers }, next);
                self.settle(platform);
                return Progress::Again { control };
            }
        };
        if code.is_iommu() {
            self.counters.add_status(word.status());
        }
        if platform.shows(LogLevel::Trace) {
            let (status, reps) = (word.status(), word.reps());
            platform.log(LogLevel::Trace, format_args!("hypercall: vp {} {code}: {status}, reps {reps}", vp.0));
        }
        self.settle(platform);
        match self.wants_power_off() {
            true => Progress::PoweredOff,
            false => Progress::Done(word),
        }
    }

    fn refuse_form(&mut self, platform: &mut impl Platform, registers: Registers, status: Status) {
        let Registers { control, rdx, r8 } = registers;
        let code = ControlWord::code_of(control);
        match status {
            Status::INVALID_HYPERCALL_CODE => {
                if self.counters.note_unknown(code) == Occurrence::First {
                    platform.log(LogLevel::Info, format_args!("hypercall: {code} is not offered"));
                }
            }
            status => self.violation(
                platform,
                format_args!("{code} with control {control:#x} input {rdx:#x} output {r8:#x}: {status}"),
            ),
        }
    }

    /// Treats a call as planned.
    fn follow(&mut self, platform: &mut impl Platform, vp: VpIndex, call: &Hypercall<'_>, plan: Plan) -> Answer {
        let done = match plan.amount {
            Amount::Nothing => None,
            Amount::All => Some(self.carry_out(platform, vp, call, call.span)),
            Amount::AtMost(most) => Some(self.carry_out(platform, vp, call, elements(call.span, Some(most)))),
            Amount::InPortions(portion) => {
                // Only what has a list is drawn for.
                let most = call.span.and_then(|_| self.schedule.elements(portion));
                let now = elements(call.span, most);
                let outcome = self.carry_out(platform, vp, call, now);
                if now != call.span && outcome.status.is_success() {
                    return Answer::Pause { start: outcome.reps_completed, next: portion };
                }
                Some(outcome)
            }
        };
        if let (Aftermath::Replaced(Returned::Given(bytes, len)), Some(output)) = (plan.output, call.output) {
            // The block was checked to be guest RAM; if it is not any more, there is nothing to spoil.
            let _ = output.write(platform, bytes.get(..len).unwrap_or(&bytes));
        }
        let word = plan.told.word(done);
        if plan.author == Author::Mood {
            self.note_orphan(call, done, word);
        }
        self.note_told(platform, call, word);
        Answer::Word(word)
    }

    /// Does what a call asks for, of its list the elements of `span`. Here, and nowhere else, a refusal becomes an outcome.
    fn carry_out(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        call: &Hypercall<'_>,
        span: Option<Span>,
    ) -> Outcome {
        let ended = match self.admit(call).and(call.request) {
            Ok(request) => self.perform(platform, vp, request, span),
            Err(refusal) => Ended::at(call.none_done(), refusal),
        };
        match call.iommu() {
            Some(which) => self.judge(platform, which, call, ended.outcome.status),
            None => {
                self.report_caches(platform);
                if let Some(what) = ended.violation {
                    let status = ended.outcome.status;
                    self.violation(platform, format_args!("{}: {what}: {status}", call.spec.code));
                }
            }
        }
        ended.outcome
    }

    /// Checks what comes before the input of a call.
    fn admit(&self, call: &Hypercall<'_>) -> Result<(), Refusal> {
        match (call.spec.call, &self.root) {
            (Call::Iommu(which), _) => Ok(self.iommu.admit(which)?),
            (Call::Root(_), Some(root)) => root.admit(call.output),
            (Call::Root(_), None) => Err(Status::INVALID_HYPERCALL_CODE.into()),
            _ => Ok(()),
        }
    }

    /// Where a request goes.
    fn perform(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        request: Request<'_>,
        span: Option<Span>,
    ) -> Ended {
        let Partition { vmbus, synic, iommu, counters, .. } = self;
        match request {
            Request::PostMessage(PostMessage { connection, message_type, payload }) => {
                vmbus.post_message(platform, synic, vp, connection, message_type, payload).into()
            }
            Request::SignalEvent(event) => vmbus.signal_event(platform, synic, event.connection, event.flag).into(),
            Request::RetargetInterrupt(retarget) => vmbus.retarget(platform, &retarget).into(),
            Request::MmioRead(MmioRead { gpa, size, output }) => {
                vmbus.mmio_read(platform, gpa, size).and_then(|value| show(platform, output, size, value)).into()
            }
            Request::MmioWrite(write) => vmbus.mmio_write(platform, write.gpa, write.size, write.value).into(),
            Request::Iommu(request) => iommu.carry_out(platform, counters, request, span),
            Request::Root(request) => match &mut self.root {
                Some(root) => root.carry_out(platform, request, span),
                None => Ended::at(0, Status::INVALID_HYPERCALL_CODE.into()),
            },
        }
    }
}

fn show(platform: &mut impl Platform, output: Output, size: AccessSize, value: u32) -> Result<(), Status> {
    let value = value.to_le_bytes();
    let bytes = match size {
        AccessSize::Byte => &value[..1],
        AccessSize::Word => &value[..2],
        AccessSize::Dword => &value[..],
    };
    output.write(platform, bytes)
}
