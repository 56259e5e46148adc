// SPDX-License-Identifier: GPL-2.0
//! Writes to pages that the core watches: the instruction is carried out here, and the core learns what it stored.

use hvcore::cachelog::store::{self, Instruction, Kind, Source, LENGTH_MAX};
use hvcore::cachelog::{Operation, WriteOutcome};
use hvcore::platform::PagingLevels;

use super::vcpu::Vcpu;
use crate::machine;

/// A nested page fault's error: the page is there, and it is written.
pub const WRITE_TO_PRESENT: u64 = 1 << 0 | 1 << 1;
/// The same: the access itself faulted, not the walk of the guest's tables for it.
const FINAL_ACCESS: u64 = 1 << 32;
const RAX: u8 = 0;

/// The guest writes to `gpa`, in a page that is read-only for it; `error` is the nested page fault's.
pub fn write(vcpu: &mut Vcpu, gpa: u64, error: u64) {
    let rip = vcpu.save().rip;
    let instruction = if error & FINAL_ACCESS == 0 { None } else { fetch(vcpu) };
    let Some(instruction) = instruction else {
        machine::watched_foreign_write(gpa, rip);
        return;
    };
    let value = match instruction.source {
        Source::Register(number) => vcpu.numbered(number),
        Source::Immediate(value) => value,
    };
    let accumulator = vcpu.save().rax;
    let operation = match instruction.kind {
        Kind::Store | Kind::Exchange => Operation::Exchange(value),
        Kind::CompareExchange => Operation::CompareExchange { expected: accumulator, new: value },
    };
    let WriteOutcome::Done(old) = machine::watched_write(gpa, operation, rip) else { return };
    match (instruction.kind, instruction.source) {
        (Kind::Exchange, Source::Register(number)) => vcpu.set_numbered(number, old),
        (Kind::CompareExchange, _) => {
            let save = vcpu.save();
            save.rflags = with_comparison(save.rflags, accumulator, old);
            if old != accumulator {
                vcpu.set_numbered(RAX, old);
            }
        }
        (Kind::Store | Kind::Exchange, _) => {}
    }
    vcpu.skip(instruction.length.into());
}

/// The instruction at RIP, if it is a 64-bit store.
fn fetch(vcpu: &mut Vcpu) -> Option<Instruction> {
    const CODE_64: u16 = 1 << 9;
    const CR4_LA57: u64 = 1 << 12;
    let save = vcpu.save();
    if save.cs.attributes & CODE_64 == 0 {
        return None;
    }
    let levels = if save.cr4 & CR4_LA57 == 0 { PagingLevels::Four } else { PagingLevels::Five };
    let mut bytes = [0; LENGTH_MAX];
    let len = machine::read_virtual(save.cr3, levels, save.rip, &mut bytes);
    store::decode(bytes.get(..len)?)
}

/// RFLAGS after CMP of `left` with `right`.
fn with_comparison(flags: u64, left: u64, right: u64) -> u64 {
    const CF: u64 = 1 << 0;
    const PF: u64 = 1 << 2;
    const AF: u64 = 1 << 4;
    const ZF: u64 = 1 << 6;
    const SF: u64 = 1 << 7;
    const OF: u64 = 1 << 11;
    let (result, borrow) = left.overflowing_sub(right);
    let (_, overflow) = (left as i64).overflowing_sub(right as i64);
    let bits = [
        (CF, borrow),
        (PF, (result as u8).count_ones() % 2 == 0),
        (AF, left & 0xf < right & 0xf),
        (ZF, result == 0),
        (SF, (result as i64) < 0),
        (OF, overflow),
    ];
    bits.iter().fold(flags, |flags, &(bit, set)| if set { flags | bit } else { flags & !bit })
}
