// SPDX-License-Identifier: GPL-2.0
//! The exit table: each way in which the guest stops, and what follows.

use hvcore::hypercall::control_word::ResultWord;
use hvcore::hypercall::schedule::Registers;
use hvcore::partition::Progress;

use super::halt::halt;
use super::vcpu::{Halts, Register, Vcpu};
use super::vmcb::{exit, Event};
use super::watched;
use crate::console::{fatal, log};
use crate::io::{self, Direction, Width};
use crate::{boot, cpuid, kick, machine, msr, npt, paging, startup};

const CPUID_BYTES: u64 = 2;
const MSR_BYTES: u64 = 2;
const VMMCALL_BYTES: u64 = 3;

/// What the processor does after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Goes on with the guest.
    Resume,
    /// Waits for a start-up IPI.
    Park,
}

/// Handles the exit that has just happened.
pub fn handle(vcpu: &mut Vcpu) -> After {
    vcpu.redeliver_interrupted_event();
    vcpu.set_halts(Halts::Seen);
    match vcpu.control().exit_code {
        exit::NMI => return nmi(vcpu),
        exit::HLT => return halt(vcpu),
        // It ended a HLT. The processor delivers it to the guest when the guest runs next.
        exit::INTERRUPT => {}
        exit::CPUID => emulate_cpuid(vcpu),
        exit::IO_PORT => io_port(vcpu),
        exit::MSR => msr_access(vcpu),
        exit::VMMCALL => vmmcall(vcpu),
        exit::SHUTDOWN => triple_fault(vcpu),
        // SVM is not advertised.
        exit::INVLPGA | exit::VMRUN | exit::VMLOAD..=exit::SKINIT => vcpu.inject(Event::InvalidOpcode),
        exit::NESTED_PAGE_FAULT => nested_page_fault(vcpu),
        code => unexpected(vcpu, code),
    }
    After::Resume
}

/// A physical NMI: either another processor wants this one's attention, or it is the guest's own.
fn nmi(vcpu: &mut Vcpu) -> After {
    boot::acknowledge_nmi();
    let kicked = kick::taken(vcpu.index);
    if startup::init_requested(vcpu.index) {
        return After::Park;
    }
    if !kicked {
        vcpu.inject(Event::Nmi);
    }
    After::Resume
}

fn triple_fault(vcpu: &mut Vcpu) -> ! {
    let (vp, save) = (vcpu.index.0, vcpu.save());
    log!("svm", "vp {vp} triple fault, rip {:#x}, cr2 {:#x}, cr3 {:#x}", save.rip, save.cr2, save.cr3);
    io::guest_reset("triple fault")
}

fn emulate_cpuid(vcpu: &mut Vcpu) {
    let leaf = vcpu.save().rax as u32;
    let result = cpuid::emulate(
        cpuid::Query {
            leaf,
            ecx: vcpu.register(Register::Rcx) as u32,
            ebx: vcpu.register(Register::Rbx) as u32,
            edx: vcpu.register(Register::Rdx) as u32,
        },
        vcpu.save().cr4,
    );
    vcpu.save().rax = u64::from(result.eax);
    vcpu.set_register(Register::Rbx, u64::from(result.ebx));
    vcpu.set_register(Register::Rcx, u64::from(result.ecx));
    vcpu.set_register(Register::Rdx, u64::from(result.edx));
    vcpu.skip(CPUID_BYTES);
}

fn msr_access(vcpu: &mut Vcpu) {
    const WRITE: u64 = 1;
    let number = vcpu.register(Register::Rcx) as u32;
    let done = match vcpu.control().exit_info1 {
        WRITE => {
            let value = vcpu.edx_eax();
            msr::write(vcpu, number, value)
        }
        _ => msr::read(vcpu, number).map(|value| vcpu.set_edx_eax(value)),
    };
    match done {
        Ok(()) => vcpu.skip(MSR_BYTES),
        Err(msr::Refused) => vcpu.inject(Event::GeneralProtection),
    }
}

fn vmmcall(vcpu: &mut Vcpu) {
    if vcpu.save().cpl != 0 {
        return vcpu.inject(Event::InvalidOpcode);
    }
    let control = vcpu.register(Register::Rcx);
    let registers = Registers { control, rdx: vcpu.register(Register::Rdx), r8: vcpu.register(Register::R8) };
    match machine::vmmcall(vcpu.index, registers) {
        Progress::Done(ResultWord(word)) => {
            vcpu.save().rax = word;
            vcpu.skip(VMMCALL_BYTES);
        }
        Progress::Again { control } => {
            vcpu.set_register(Register::Rcx, control);
            // The emulator goes on with another processor.
            core::hint::spin_loop();
        }
        Progress::InvalidOpcode => vcpu.inject(Event::InvalidOpcode),
        Progress::PoweredOff => io::guest_power_off(),
    }
}

fn io_port(vcpu: &mut Vcpu) {
    const IN: u64 = 1 << 0;
    const STRING: u64 = 1 << 2;
    let (info, next) = (vcpu.control().exit_info1, vcpu.control().exit_info2);
    if info & STRING != 0 {
        return vcpu.inject(Event::GeneralProtection);
    }
    let port = (info >> 16) as u16;
    // Bits 4, 5, 6: 1, 2, 4 bytes.
    let (width, mask) = match info >> 4 & 7 {
        1 => (Width::Byte, 0xff),
        2 => (Width::Word, 0xffff),
        _ => (Width::Dword, 0xffff_ffff),
    };
    let direction = match info & IN {
        0 => Direction::Out { value: (vcpu.save().rax & mask) as u32 },
        _ => Direction::In,
    };
    let value = u64::from(io::access(port, width, direction)) & mask;
    if direction == Direction::In {
        // As everywhere, a 32-bit result clears the upper half.
        let kept = if mask == 0xffff_ffff { 0 } else { vcpu.save().rax & !mask };
        vcpu.save().rax = kept | value;
    }
    vcpu.continue_at(next);
}

fn nested_page_fault(vcpu: &mut Vcpu) {
    let (error, gpa) = (vcpu.control().exit_info1, vcpu.control().exit_info2);
    let (vp, rip) = (vcpu.index.0, vcpu.save().rip);
    if vcpu.save().cr3 == paging::current_root() {
        // No guest can load that address: nested paging would stop it before the first instruction.
        fatal!("emulator error: vp {vp} ran the hypervisor's own code as guest code, at {rip:#x}");
    }
    if error & watched::WRITE_TO_PRESENT == watched::WRITE_TO_PRESENT {
        return watched::write(vcpu, gpa, error);
    }
    match npt::fill_hole(gpa) {
        Ok(()) => log!("svm", "vp {vp} touched {gpa:#x}, where nothing is (error {error:#x}, rip {rip:#x})"),
        Err(npt::TooManyHoles) => fatal!("vp {vp} touched {gpa:#x}, one of many places where nothing is, rip {rip:#x}"),
    }
}

fn unexpected(vcpu: &mut Vcpu, code: u64) {
    let index = vcpu.index.0;
    let (info1, info2) = (vcpu.control().exit_info1, vcpu.control().exit_info2);
    let save = vcpu.save();
    fatal!(
        "vp {index} exit {code:#x}, info {info1:#x} {info2:#x}, rip {:#x}, cr0 {:#x}, cr3 {:#x}, cr4 {:#x}, efer {:#x}",
        save.rip,
        save.cr0,
        save.cr3,
        save.cr4,
        save.efer
    )
}
