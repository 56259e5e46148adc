// SPDX-License-Identifier: GPL-2.0
//! A hypercall from the guest's instruction to the result word.

use core::mem;

use super::injection::Answer;
use super::Partition;
use crate::counters::Occurrence;
use crate::hypercall::control_word::{ControlWord, Outcome, ResultWord};
use crate::hypercall::dispatch::Request;
use crate::hypercall::schedule::{Arrival, Registers};
use crate::ids::VpIndex;
use crate::platform::{LogLevel, Platform};
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
        let Registers { control, rdx, r8 } = registers;
        let code = ControlWord::code_of(control);
        let arrival = self.schedule.arrive(vp, registers);
        match arrival {
            Arrival::Held => return Progress::Again { control },
            Arrival::New => self.counters.add_call(code),
            Arrival::Rest(_) => {}
        }
        let mut buffer = mem::take(&mut self.buffer);
        let answer = match Request::fetch_of(self.offered(), platform, &mut buffer, control, rdx, r8) {
            Ok(mut request) => match arrival {
                Arrival::Rest(portion) => self.in_portions(platform, vp, &mut request, portion),
                Arrival::New | Arrival::Held => self.call(platform, vp, request),
            },
            Err(Status::INVALID_HYPERCALL_CODE) => {
                if self.counters.note_unknown(code) == Occurrence::First {
                    platform.log(LogLevel::Info, format_args!("hypercall: {code} is not offered"));
                }
                Answer::Outcome(Status::INVALID_HYPERCALL_CODE.into())
            }
            Err(status) => {
                self.violation(
                    platform,
                    format_args!("{code} with control {control:#x} input {rdx:#x} output {r8:#x}: {status}"),
                );
                Answer::Outcome(status.into())
            }
        };
        self.buffer = buffer;
        let (word, reps) = match answer {
            Answer::Outcome(outcome @ Outcome { reps_completed, .. }) => (outcome.word(), reps_completed),
            Answer::Word(word) => (word, 0),
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
            platform
                .log(LogLevel::Trace, format_args!("hypercall: vp {} {code}: {}, reps {reps}", vp.0, word.status()));
        }
        self.settle(platform);
        if self.wants_power_off() {
            return Progress::PoweredOff;
        }
        Progress::Done(self.hostility.take_word().map_or(word, ResultWord))
    }
}
