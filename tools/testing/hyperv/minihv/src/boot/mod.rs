// SPDX-License-Identifier: GPL-2.0
//! The assembly around Rust: processor entry, exception stubs, memory functions.

use core::arch::global_asm;

use crate::console::fatal;

global_asm!(include_str!("entry.s"));
global_asm!(include_str!("exceptions.s"));
global_asm!(include_str!("memory_functions.s"));

/// Vectors that have a stub in exceptions.s.
const VECTORS: usize = 32;
/// Bytes from one stub to the next.
const STUB_BYTES: u64 = 16;
const CODE_SELECTOR: u64 = 8;

extern "C" {
    static exception_stubs: u8;
    fn park_until_nmi();
    fn take_pending_nmi();
}

/// What an exception stub leaves on the stack.
#[repr(C)]
struct ExceptionFrame {
    vector: u64,
    error_code: u64,
    rip: u64,
}

#[repr(C, align(16))]
struct Idt([[u64; 2]; VECTORS]);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

static IDT: spin::Once<Idt> = spin::Once::new();

/// The toolchain's prebuilt libraries refer to it; nothing unwinds here.
#[no_mangle]
extern "C" fn rust_eh_personality() {}

/// As above.
#[no_mangle]
extern "C" fn _Unwind_Resume() {}

#[no_mangle]
extern "C" fn fatal_exception(frame: &ExceptionFrame) -> ! {
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    fatal!(
        "exception {} in the hypervisor, error {:#x}, rip {:#x}, cr2 {cr2:#x}",
        frame.vector,
        frame.error_code,
        frame.rip
    )
}

/// Loads the exception table on this processor.
pub fn load_exception_table() {
    let idt = IDT.call_once(|| {
        let first = &raw const exception_stubs as u64;
        let mut gates = [[0; 2]; VECTORS];
        for (gate, stub) in gates.iter_mut().zip((first..).step_by(STUB_BYTES as usize)) {
            const PRESENT_INTERRUPT_GATE: u64 = 0x8e00 << 32;
            *gate = [
                stub & 0xffff | CODE_SELECTOR << 16 | PRESENT_INTERRUPT_GATE | (stub >> 16 & 0xffff) << 48,
                stub >> 32,
            ];
        }
        Idt(gates)
    });
    let pointer = TablePointer { limit: (size_of::<Idt>() - 1) as u16, base: idt as *const Idt as u64 };
    // SAFETY: the table is static, complete, and its gates lead to stubs that never touch the interrupted state.
    unsafe { core::arch::asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack)) }
}

/// Sleeps until an NMI arrives. Only for a processor that is not running the guest.
pub fn sleep_until_nmi() {
    // SAFETY: the exception table is loaded; maskable interrupts stay off, so only an NMI can end the sleep.
    unsafe { park_until_nmi() }
}

/// Consumes the physical NMI that has just ended the guest's run.
pub fn acknowledge_nmi() {
    // SAFETY: as above; GIF is zero again on return.
    unsafe { take_pending_nmi() }
}
