// SPDX-License-Identifier: GPL-2.0
//! The virtual machine control block (AMD64 Architecture Programmer's Manual, volume 2, appendix B).

use core::mem::offset_of;

/// Intercepts of the first miscellaneous word (offset 0x0c).
pub mod intercept1 {
    pub const INTERRUPT: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const CPUID: u32 = 1 << 18;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IO_PORTS: u32 = 1 << 27;
    pub const MSRS: u32 = 1 << 28;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Intercepts of the second miscellaneous word (offset 0x10).
pub mod intercept2 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
}

/// Why the guest stopped.
pub mod exit {
    pub const INTERRUPT: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const CPUID: u64 = 0x72;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IO_PORT: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const SKINIT: u64 = 0x86;
    pub const NESTED_PAGE_FAULT: u64 = 0x400;
}

/// A segment register.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub selector: u16,
    pub attributes: u16,
    pub limit: u32,
    pub base: u64,
}

/// The control area: what to intercept, and why the guest stopped.
#[repr(C)]
pub struct Control {
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    pub intercept1: u32,
    pub intercept2: u32,
    reserved0: [u32; 11],
    pub io_permissions: u64,
    pub msr_permissions: u64,
    pub tsc_offset: u64,
    pub asid: u32,
    pub tlb_control: u32,
    pub virtual_interrupt: u64,
    pub interrupt_shadow: u64,
    pub exit_code: u64,
    pub exit_info1: u64,
    pub exit_info2: u64,
    pub exit_interrupt_info: u64,
    pub nested_paging: u64,
    reserved1: [u64; 2],
    pub event_injection: u64,
    pub nested_cr3: u64,
}

/// The state-save area: the guest's registers as far as VMRUN switches them.
#[repr(C)]
pub struct Save {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    reserved0: [u8; 43],
    pub cpl: u8,
    reserved1: u32,
    pub efer: u64,
    reserved2: [u64; 14],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved3: [u64; 11],
    pub rsp: u64,
    reserved4: [u64; 3],
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved5: [u64; 4],
    pub pat: u64,
}

const CONTROL_BYTES: usize = 0x400;
const VMCB_BYTES: usize = 0x1000;

/// The whole block, one page.
#[repr(C, align(4096))]
pub struct Vmcb {
    pub control: Control,
    padding0: [u8; CONTROL_BYTES - size_of::<Control>()],
    pub save: Save,
    padding1: [u8; VMCB_BYTES - CONTROL_BYTES - size_of::<Save>()],
}

const _: () = {
    assert!(offset_of!(Control, io_permissions) == 0x40);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, nested_paging) == 0x90);
    assert!(offset_of!(Control, event_injection) == 0xa8);
    assert!(offset_of!(Save, cpl) == 0xcb);
    assert!(offset_of!(Save, efer) == 0xd0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1d8);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, pat) == 0x268);
    assert!(offset_of!(Vmcb, save) == CONTROL_BYTES);
    assert!(size_of::<Vmcb>() == VMCB_BYTES);
};

/// An event to deliver when the guest runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Non-maskable interrupt.
    Nmi,
    /// #UD, invalid opcode.
    InvalidOpcode,
    /// #GP(0), general protection.
    GeneralProtection,
}

impl Event {
    /// The event-injection field's value.
    pub fn encode(self) -> u64 {
        const VALID: u64 = 1 << 31;
        const ERROR_CODE: u64 = 1 << 11;
        const TYPE_NMI: u64 = 2 << 8;
        const TYPE_EXCEPTION: u64 = 3 << 8;
        match self {
            Event::Nmi => VALID | TYPE_NMI | 2,
            Event::InvalidOpcode => VALID | TYPE_EXCEPTION | 6,
            Event::GeneralProtection => VALID | TYPE_EXCEPTION | ERROR_CODE | 13,
        }
    }
}
