// SPDX-License-Identifier: GPL-2.0
//! Starting the other physical processors. Each one becomes the virtual processor of the same number and waits for
//! the guest to start it.

use alloc::vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hvcore::ids::VpIndex;
use spin::Once;
use x86_64::instructions::port::Port;

use crate::console::fatal;
use crate::lapic::{self, ApicId};
use crate::svm::vcpu::{Shared, Start, Vcpu};
use crate::{boot, startup, time};

/// More than that are refused.
pub const MAX_PROCESSORS: usize = 16;
/// Where the start-up code goes: a page in guest memory, used before the guest runs.
const TRAMPOLINE: u64 = 0x8000;
const STACK_BYTES: usize = 64 << 10;
const START_MILLISECONDS: u64 = 2000;

/// QEMU's firmware configuration device.
const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
const FW_CFG_PROCESSORS: u16 = 0x05;

extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
}

/// Read by entry.s.
#[no_mangle]
static AP_STACK_TOP: AtomicU64 = AtomicU64::new(0);
/// Number of the processor that is being started.
static STARTING: AtomicU32 = AtomicU32::new(0);
/// Processors that reached [`application_processor_main`], the boot processor included.
static ONLINE: AtomicU32 = AtomicU32::new(1);
static SHARED: Once<Shared> = Once::new();

/// How many processors QEMU was started with.
pub fn count() -> u32 {
    let (mut selector, mut data) = (Port::<u16>::new(FW_CFG_SELECTOR), Port::<u8>::new(FW_CFG_DATA));
    // SAFETY: selects an item and reads its first two bytes, nothing else depends on the selection.
    let count = unsafe {
        selector.write(FW_CFG_PROCESSORS);
        u16::from_le_bytes([data.read(), data.read()])
    };
    u32::from(count)
}

/// Starts processors 1..`count`, one after the other. Their local APIC ids are 1..`count`, too.
pub fn start_others(count: u32, shared: Shared) {
    SHARED.call_once(|| shared);
    let (first, last) = (&raw const ap_trampoline, &raw const ap_trampoline_end);
    // SAFETY: RAM that nothing uses yet; the guest is loaded elsewhere.
    unsafe { core::ptr::copy_nonoverlapping(first, TRAMPOLINE as *mut u8, last as usize - first as usize) }
    for id in 1..count {
        let stack = vec![0u128; STACK_BYTES / size_of::<u128>()].leak();
        AP_STACK_TOP.store(stack.as_ptr_range().end as u64, Ordering::SeqCst);
        STARTING.store(id, Ordering::SeqCst);
        lapic::send_init(ApicId(id));
        time::delay(10);
        lapic::send_startup(ApicId(id), (TRAMPOLINE >> 12) as u8);
        if !time::wait_until(START_MILLISECONDS, || ONLINE.load(Ordering::SeqCst) > id) {
            fatal!("processor {id} does not start")
        }
    }
}

#[no_mangle]
extern "C" fn application_processor_main() -> ! {
    let vp = VpIndex(STARTING.load(Ordering::SeqCst));
    boot::load_exception_table();
    let Some(shared) = SHARED.get() else { fatal!("processor {} started too early", vp.0) };
    run(&mut Vcpu::new(vp, shared), None)
}

/// Runs the guest for ever: at once if it has somewhere to `start`, then each time the guest starts this processor.
pub fn run(vcpu: &mut Vcpu, start: Option<Start>) -> ! {
    let vp = vcpu.index;
    if let Some(start) = start {
        startup::mark_running(vp);
        vcpu.run(start);
    } else {
        ONLINE.fetch_add(1, Ordering::SeqCst);
    }
    loop {
        vcpu.run(Start::RealMode { page: startup::wait(vp) });
    }
}
