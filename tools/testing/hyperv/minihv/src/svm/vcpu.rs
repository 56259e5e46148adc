// SPDX-License-Identifier: GPL-2.0
//! One virtual processor: its registers and its run loop.

use alloc::boxed::Box;

use hvcore::ids::VpIndex;

use super::effort;
use super::exits::{self, After};
use super::vmcb::{intercept1, intercept2, Control, Event, Save, Segment, Vmcb};
use super::Permissions;
use crate::paging::TablePage;
use crate::{linux, npt, time};

extern "C" {
    fn world_switch(vmcb: u64, registers: *mut GuestRegisters);
}

/// EFER: SVM enable. The processor insists on it in the guest, too; the guest does not get to see it.
pub const EFER_SVME: u64 = 1 << 12;
const CR0_PROTECTED: u64 = 0x11;
const CR0_REAL: u64 = 0x10;
const DR6_RESET: u64 = 0xffff_0ff0;
const DR7_RESET: u64 = 0x400;
const RFLAGS_RESET: u64 = 2;
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
const MXCSR_RESET: u32 = 0x1f80;
const ASID: u32 = 1;
const RAX: u8 = 0;
const RSP: u8 = 4;

/// General registers that the guest's RAX and RSP do not belong to: those are in the VMCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// RCX.
    Rcx = 1,
    /// RDX.
    Rdx = 2,
    /// RBX.
    Rbx = 3,
    /// RSI.
    Rsi = 6,
    /// R8.
    R8 = 8,
}

/// What world_switch.s loads and saves. Its offsets are known there.
#[repr(C, align(16))]
struct GuestRegisters {
    general: [u64; 16],
    vectors: [[u64; 2]; 16],
}

const _: () = assert!(core::mem::offset_of!(GuestRegisters, vectors) == 128);

/// How a virtual processor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The boot processor: flat protected mode at the kernel's entry point.
    Kernel(linux::Entry),
    /// Any other: real mode at `page << 12`, as after a start-up IPI.
    RealMode {
        /// The start-up IPI's vector.
        page: u8,
    },
}

/// Where the guest's HLT halts the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halts {
    /// In the hypervisor, which decides what ends the HLT.
    Seen,
    /// In the guest. The next interrupt exits.
    Native,
}

/// What all virtual processors have in common.
#[derive(Clone, Copy)]
pub struct Shared {
    /// Root of the nested page table.
    pub nested_root: u64,
    /// Intercepted ports and MSRs.
    pub permissions: Permissions,
}

/// A virtual processor, bound to the physical one that created it.
pub struct Vcpu {
    /// Its number, equal to its local APIC id.
    pub index: VpIndex,
    /// What the guest wrote to the VP assist page MSR.
    pub assist_page: u64,
    vmcb: Box<Vmcb>,
    registers: Box<GuestRegisters>,
    /// Of the nested page table, when this processor entered the guest last.
    generation: u64,
}

impl Vcpu {
    /// Prepares this physical processor to run virtual processor `index`.
    pub fn new(index: VpIndex, shared: &Shared) -> Vcpu {
        super::enable(Box::leak(TablePage::new()).address());
        // SAFETY: all fields of a VMCB are integers.
        let mut vmcb: Box<Vmcb> = unsafe { Box::new(core::mem::zeroed()) };
        vmcb.control.intercept1 = intercept1::NMI
            | intercept1::HLT
            | intercept1::CPUID
            | intercept1::INVLPGA
            | intercept1::IO_PORTS
            | intercept1::MSRS
            | intercept1::SHUTDOWN;
        vmcb.control.intercept2 = intercept2::VMRUN
            | intercept2::VMMCALL
            | intercept2::VMLOAD
            | intercept2::VMSAVE
            | intercept2::STGI
            | intercept2::CLGI
            | intercept2::SKINIT;
        vmcb.control.io_permissions = shared.permissions.io_address();
        vmcb.control.msr_permissions = shared.permissions.msr_address();
        vmcb.control.asid = ASID;
        vmcb.control.nested_paging = 1;
        vmcb.control.nested_cr3 = shared.nested_root;
        Vcpu {
            index,
            assist_page: 0,
            vmcb,
            registers: Box::new(GuestRegisters { general: [0; 16], vectors: [[0; 2]; 16] }),
            generation: 0,
        }
    }

    /// Runs the guest from `start` until it gives the processor up (INIT).
    pub fn run(&mut self, start: Start) {
        self.reset(start);
        loop {
            self.notice_nested_changes();
            // SAFETY: the VMCB is complete and identity mapped; nested paging confines the guest to its own memory.
            unsafe { world_switch(&raw const *self.vmcb as u64, &raw mut *self.registers) }
            let exit = time::ticks();
            let after = exits::handle(self);
            effort::add(self.index, time::ticks() - exit);
            match after {
                After::Resume => {}
                After::Park => return,
            }
        }
    }

    /// Drops what is cached of the nested page table when it has changed.
    fn notice_nested_changes(&mut self) {
        const NOTHING: u32 = 0;
        const EVERYTHING: u32 = 1;
        let now = npt::generation();
        let changed = core::mem::replace(&mut self.generation, now) != now;
        self.vmcb.control.tlb_control = if changed { EVERYTHING } else { NOTHING };
    }

    /// The control area.
    pub fn control(&mut self) -> &mut Control {
        &mut self.vmcb.control
    }

    /// The registers that VMRUN switches.
    pub fn save(&mut self) -> &mut Save {
        &mut self.vmcb.save
    }

    /// A general register.
    pub fn register(&self, register: Register) -> u64 {
        self.registers.general[register as usize]
    }

    /// Sets a general register.
    pub fn set_register(&mut self, register: Register, value: u64) {
        self.registers.general[register as usize] = value;
    }

    /// A general register by its number in instructions.
    pub fn numbered(&self, number: u8) -> u64 {
        match number {
            RAX => self.vmcb.save.rax,
            RSP => self.vmcb.save.rsp,
            other => self.registers.general[usize::from(other & 0xf)],
        }
    }

    /// Sets a general register by its number in instructions.
    pub fn set_numbered(&mut self, number: u8, value: u64) {
        match number {
            RAX => self.vmcb.save.rax = value,
            RSP => self.vmcb.save.rsp = value,
            other => self.registers.general[usize::from(other & 0xf)] = value,
        }
    }

    /// EDX:EAX.
    pub fn edx_eax(&self) -> u64 {
        self.register(Register::Rdx) << 32 | self.vmcb.save.rax & 0xffff_ffff
    }

    /// Sets EDX:EAX, clearing the upper halves.
    pub fn set_edx_eax(&mut self, value: u64) {
        self.vmcb.save.rax = value & 0xffff_ffff;
        self.set_register(Register::Rdx, value >> 32);
    }

    /// Says where the guest's next HLT halts.
    pub fn set_halts(&mut self, halts: Halts) {
        let (on, off) = match halts {
            Halts::Seen => (intercept1::HLT, intercept1::INTERRUPT),
            Halts::Native => (intercept1::INTERRUPT, intercept1::HLT),
        };
        let intercepts = &mut self.vmcb.control.intercept1;
        *intercepts = *intercepts & !off | on;
    }

    /// Has `event` delivered when the guest runs next.
    pub fn inject(&mut self, event: Event) {
        self.vmcb.control.event_injection = event.encode();
    }

    /// An exit may come while the processor delivers an event: it is delivered again.
    pub fn redeliver_interrupted_event(&mut self) {
        const VALID: u64 = 1 << 31;
        let interrupted = self.vmcb.control.exit_interrupt_info;
        self.vmcb.control.event_injection = if interrupted & VALID != 0 { interrupted } else { 0 };
    }

    /// Moves on to the instruction at `rip`, the one behind the emulated one.
    pub fn continue_at(&mut self, rip: u64) {
        self.vmcb.save.rip = rip;
        self.vmcb.control.interrupt_shadow = 0;
    }

    /// Moves on behind an emulated instruction of `bytes` bytes. QEMU's SVM does not tell the length, so prefixes are
    /// not accounted for; no compiler or kernel puts any before these instructions.
    pub fn skip(&mut self, bytes: u64) {
        self.continue_at(self.vmcb.save.rip.wrapping_add(bytes));
    }

    fn reset(&mut self, start: Start) {
        self.registers.general = [0; 16];
        self.registers.vectors = [[0; 2]; 16];
        let mxcsr = MXCSR_RESET;
        // SAFETY: the hypervisor does not use the x87, and masks every exception of SSE as after a reset.
        unsafe {
            core::arch::asm!("fninit", "ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, readonly));
        }
        self.vmcb.control.event_injection = 0;
        self.vmcb.control.interrupt_shadow = 0;
        // SAFETY: all fields of the save area are integers.
        self.vmcb.save = unsafe { core::mem::zeroed() };
        let save = &mut self.vmcb.save;
        save.efer = EFER_SVME;
        save.dr6 = DR6_RESET;
        save.dr7 = DR7_RESET;
        save.rflags = RFLAGS_RESET;
        save.pat = PAT_RESET;
        let (code, data) = match start {
            Start::Kernel(entry) => {
                save.cr0 = CR0_PROTECTED;
                save.rip = entry.rip;
                self.registers.general[Register::Rsi as usize] = entry.boot_params;
                let flat = |selector, attributes| Segment { selector, attributes, limit: u32::MAX, base: 0 };
                (flat(0x10, 0xc9b), flat(0x18, 0xc93))
            }
            Start::RealMode { page } => {
                save.cr0 = CR0_REAL;
                let real = |page: u8, attributes| Segment {
                    selector: u16::from(page) << 8,
                    attributes,
                    limit: 0xffff,
                    base: u64::from(page) << 12,
                };
                (real(page, 0x9b), real(0, 0x93))
            }
        };
        save.cs = code;
        (save.ds, save.es, save.fs, save.gs, save.ss) = (data, data, data, data, data);
        save.gdtr.limit = 0xffff;
        save.idtr.limit = 0xffff;
        save.ldtr = Segment { attributes: 0x82, limit: 0xffff, ..Segment::default() };
        save.tr = Segment { attributes: 0x8b, limit: 0xffff, ..Segment::default() };
        // SAFETY: VMRUN leaves FS, GS, LDTR, TR and the system-call MSRs alone; the hypervisor uses none of them.
        unsafe {
            core::arch::asm!("vmload rax", in("rax") &raw const *self.vmcb as u64, options(nostack, preserves_flags));
        }
    }
}
