// SPDX-License-Identifier: GPL-2.0
//! Model-specific registers that exit: a few of the processor's own, and all of Hyper-V's.

use core::sync::atomic::{AtomicU64, Ordering};

use hvcore::identity::Identity;
use hvcore::root::reference_time::ReferenceTime;
use hvcore::synic::MsrOutcome;

use crate::console::log;
use crate::lapic::{self, ApicId, APIC_BASE_BOOT_PROCESSOR, APIC_BASE_MODE, MSR_APIC_BASE, MSR_X2APIC_ICR};
use crate::svm::vcpu::{Vcpu, EFER_SVME};
use crate::svm::MsrIntercept;
use crate::{apic, machine, memory, time};

const MSR_EFER: u32 = 0xc000_0080;
const MSR_VM_CR: u32 = 0xc001_0114;
const MSR_VM_HSAVE_PA: u32 = 0xc001_0117;

const HV_X64_MSR_VP_INDEX: u32 = 0x4000_0002;
const HV_X64_MSR_TIME_REF_COUNT: u32 = 0x4000_0020;
const HV_X64_MSR_REFERENCE_TSC: u32 = 0x4000_0021;
const HV_X64_MSR_TSC_FREQUENCY: u32 = 0x4000_0022;
const HV_X64_MSR_APIC_FREQUENCY: u32 = 0x4000_0023;
const HV_X64_MSR_EOI: u32 = 0x4000_0070;
const HV_X64_MSR_ICR: u32 = 0x4000_0071;
const HV_X64_MSR_TPR: u32 = 0x4000_0072;
const HV_X64_MSR_VP_ASSIST_PAGE: u32 = 0x4000_0073;
const HV_X64_MSR_TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// REFERENCE_TSC: the page is in force.
const REFERENCE_TSC_ENABLE: u64 = 1;

/// The MSRs of the permission map's ranges that exit.
pub const INTERCEPTED: &[(u32, MsrIntercept)] = &[
    (MSR_APIC_BASE, MsrIntercept::Write),
    (MSR_X2APIC_ICR, MsrIntercept::Write),
    (MSR_EFER, MsrIntercept::ReadWrite),
    (MSR_VM_CR, MsrIntercept::ReadWrite),
    (MSR_VM_HSAVE_PA, MsrIntercept::ReadWrite),
];

static TSC_INVARIANT_CONTROL: AtomicU64 = AtomicU64::new(0);

/// The guest gets a general protection fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Whether the guest asked for the invariant TSC to be shown in CPUID.
pub fn tsc_invariant() -> bool {
    TSC_INVARIANT_CONTROL.load(Ordering::Relaxed) & 1 != 0
}

/// The guest reads `msr`.
///
/// # Errors
/// [`Refused`] when there is no such register.
pub fn read(vcpu: &mut Vcpu, msr: u32) -> Result<u64, Refused> {
    let is_root = machine::identity() == Identity::Root;
    match msr {
        MSR_EFER => Ok(vcpu.save().efer & !EFER_SVME),
        HV_X64_MSR_VP_INDEX => Ok(u64::from(vcpu.index.0)),
        // There is no such page, but a kernel that makes way for the next one switches it off all the same.
        HV_X64_MSR_REFERENCE_TSC if !is_root => Ok(0),
        HV_X64_MSR_TIME_REF_COUNT if is_root => Ok(ReferenceTime::new(time::hertz()).at(time::ticks())),
        HV_X64_MSR_TSC_FREQUENCY => Ok(time::hertz()),
        HV_X64_MSR_APIC_FREQUENCY => Ok(time::LAPIC_TIMER_HZ),
        HV_X64_MSR_ICR => Ok(lapic::interrupt_command()),
        HV_X64_MSR_TPR => Ok(u64::from(lapic::task_priority())),
        HV_X64_MSR_VP_ASSIST_PAGE if !is_root => Ok(vcpu.assist_page),
        HV_X64_MSR_TSC_INVARIANT_CONTROL if !is_root => Ok(TSC_INVARIANT_CONTROL.load(Ordering::Relaxed)),
        _ => machine::msr_read(vcpu.index, msr).ok_or_else(|| refuse(vcpu, msr, "read")),
    }
}

/// The guest writes `value` to `msr`.
///
/// # Errors
/// [`Refused`] when there is no such register, or it does not take the value.
pub fn write(vcpu: &mut Vcpu, msr: u32, value: u64) -> Result<(), Refused> {
    let is_root = machine::identity() == Identity::Root;
    match msr {
        MSR_EFER => write_efer(vcpu, value),
        MSR_APIC_BASE => write_apic_base(value),
        MSR_X2APIC_ICR if lapic::mode() == lapic::Mode::X2Apic => {
            apic::command(vcpu.index, ApicId((value >> 32) as u32), value as u32);
            Ok(())
        }
        HV_X64_MSR_REFERENCE_TSC if !is_root && value & REFERENCE_TSC_ENABLE == 0 => Ok(()),
        HV_X64_MSR_REFERENCE_TSC if !is_root => Err(refuse(vcpu, msr, "write")),
        HV_X64_MSR_EOI => {
            lapic::end_of_interrupt();
            Ok(())
        }
        HV_X64_MSR_ICR => {
            apic::command(vcpu.index, ApicId((value >> 56) as u32), value as u32);
            Ok(())
        }
        HV_X64_MSR_TPR => {
            lapic::set_task_priority(value as u8);
            Ok(())
        }
        HV_X64_MSR_VP_ASSIST_PAGE if !is_root => {
            // Nothing is ever reported there.
            vcpu.assist_page = value;
            Ok(())
        }
        HV_X64_MSR_TSC_INVARIANT_CONTROL if !is_root => {
            TSC_INVARIANT_CONTROL.store(value, Ordering::Relaxed);
            Ok(())
        }
        _ => match machine::msr_write(vcpu.index, msr, value) {
            MsrOutcome::Handled => Ok(()),
            MsrOutcome::NotMine | MsrOutcome::Fault => Err(refuse(vcpu, msr, "write")),
        },
    }
}

fn refuse(vcpu: &mut Vcpu, msr: u32, what: &str) -> Refused {
    let (vp, rip) = (vcpu.index.0, vcpu.save().rip);
    log!("msr", "vp {vp} {what} of {msr:#x} at rip {rip:#x} refused");
    Refused
}

/// As the processor would, but SVME stays set beneath.
fn write_efer(vcpu: &mut Vcpu, value: u64) -> Result<(), Refused> {
    const SCE: u64 = 1 << 0;
    const LME: u64 = 1 << 8;
    const LMA: u64 = 1 << 10;
    const NXE: u64 = 1 << 11;
    const WRITABLE: u64 = SCE | LME | NXE;
    const CR0_PG: u64 = 1 << 31;
    let save = vcpu.save();
    let unknown = value & !(WRITABLE | LMA) != 0;
    let mode_change_while_paging = (value ^ save.efer) & LME != 0 && save.cr0 & CR0_PG != 0;
    if unknown || mode_change_while_paging {
        return Err(Refused);
    }
    save.efer = value & WRITABLE | save.efer & LMA | EFER_SVME;
    Ok(())
}

/// The mode may change, the address may not: the hypervisor uses the registers, too.
fn write_apic_base(value: u64) -> Result<(), Refused> {
    if value & !APIC_BASE_MODE & !APIC_BASE_BOOT_PROCESSOR != memory::LAPIC_BASE {
        return Err(Refused);
    }
    lapic::set_mode(value & APIC_BASE_MODE).map_err(|lapic::BadTransition| Refused)
}
