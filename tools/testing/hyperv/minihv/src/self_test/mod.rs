// SPDX-License-Identifier: GPL-2.0
//! The self-test: what needs the emulated machine, but no kernel. Each check is a line in the log, and so is each one of
//! the small guest that runs afterwards; the first failure ends the run.

use core::arch::global_asm;

use hvcore::ids::{DeviceIndex, Gpa};
use hvcore::memory_map::PhysRange;
use hvcore::platform::{PagingLevels, Platform, Translation};

use crate::console::{fatal, log};
use crate::linux::Entry;
use crate::memory::{self, GuestMemory};
use crate::npt;
use crate::platform::Hardware;

pub mod root;

global_asm!(include_str!("guest.s"));

extern "C" {
    static self_test_guest: u8;
    static self_test_guest_end: u8;
}

/// Where the guest goes, as in guest.s.
const GUEST: u64 = 0x100_0000;
/// A page of guest RAM that stands for a root table.
const ROOT: u64 = 0x140_0000;
const PAGE_BYTES: u64 = 4096;

fn passed(name: &str) {
    log!("selftest", "ok {name}");
}

/// Runs the checks of the hypervisor and of the IOMMU; devices are as before the first attach afterwards.
pub fn run(hardware: &mut Hardware) {
    own_memory_is_hidden();
    hardware.vtd.check_interrupt_remapping();
    passed("interrupt-remapping");
    translations(hardware);
}

/// Neither the guest's processors nor bypassed devices reach the hypervisor.
fn own_memory_is_hidden() {
    let PhysRange { start, end } = memory::own_range();
    for address in (start..end).step_by(PAGE_BYTES as usize) {
        if npt::maps(address) {
            fatal!("self-test: the guest's processors reach {address:#x}")
        }
    }
    // RAM is where it belongs, or the check above sees nothing at all.
    if !npt::maps(GUEST) || !npt::maps(end) {
        fatal!("self-test: the guest's processors do not reach their RAM")
    }
    passed("own-memory-is-hidden");
}

/// Every change of a device's translation is in the tables; [`crate::vtd::Vtd::set_translation`] reads them back.
fn translations(hardware: &mut Hardware) {
    let root = Gpa(ROOT);
    let sequence = [
        Translation::Bypass,
        Translation::Stage1 { root, levels: PagingLevels::Four },
        Translation::Blocked,
        Translation::Stage1 { root, levels: PagingLevels::Four },
        Translation::Stage1 { root, levels: PagingLevels::Five },
        Translation::Bypass,
        Translation::Blocked,
        Translation::Bypass,
    ];
    for device in (0..hardware.functions.len()).map(DeviceIndex) {
        for translation in sequence {
            hardware.set_translation(device, translation);
        }
    }
    passed("translations");
}

/// Copies the guest into place.
pub fn load(memory: &GuestMemory) -> Entry {
    let (first, last) = (&raw const self_test_guest, &raw const self_test_guest_end);
    // SAFETY: both symbols belong to one section of the image, in this order.
    let code = unsafe { core::slice::from_raw_parts(first, last as usize - first as usize) };
    if memory.write(Gpa(GUEST), code).is_err() {
        fatal!("self-test: too little RAM")
    }
    Entry { rip: GUEST, boot_params: 0 }
}
