// SPDX-License-Identifier: GPL-2.0
//! Running the guest: SVM control blocks, the world switch, and what to do at each exit.

use core::arch::x86_64::__cpuid;
use core::arch::{asm, global_asm};

use x86_64::registers::model_specific::Msr;

mod effort;
mod exits;
mod halt;
mod permissions;
pub mod vcpu;
mod vmcb;
mod watched;

pub use effort::total as effort;
pub use permissions::{MsrIntercept, Permissions};

global_asm!(include_str!("world_switch.s"));

const MSR_HOST_SAVE_AREA: u32 = 0xc001_0117;

/// Whether this processor has SVM with nested paging.
pub fn is_available() -> bool {
    const SVM: u32 = 1 << 2;
    const NESTED_PAGING: u32 = 1 << 0;
    // SAFETY: every processor that runs in long mode has CPUID.
    let cpuid = |leaf| unsafe { __cpuid(leaf) };
    cpuid(0x8000_0000).eax >= 0x8000_000a
        && cpuid(0x8000_0001).ecx & SVM != 0
        && cpuid(0x8000_000a).edx & NESTED_PAGING != 0
}

/// Prepares this processor for running the guest. From here on the hypervisor takes no interrupts (GIF = 0), except
/// in [`crate::boot`]'s NMI windows.
fn enable(host_save_area: u64) {
    // SAFETY: EFER.SVME was set on entry; the save area is a page that lives for ever.
    unsafe {
        Msr::new(MSR_HOST_SAVE_AREA).write(host_save_area);
        asm!("clgi", options(nomem, nostack));
    }
}
