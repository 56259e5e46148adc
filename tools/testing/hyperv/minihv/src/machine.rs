// SPDX-License-Identifier: GPL-2.0
//! The partition and the hardware below it, under one lock.

use hvcore::cachelog::{Operation, WriteOutcome};
use hvcore::hypercall::schedule::Registers;
use hvcore::identity::Identity;
use hvcore::ids::{Gpa, Iova, VpIndex};
use hvcore::iommu::walk;
use hvcore::partition::{Partition, Progress};
use hvcore::platform::{PagingLevels, Platform};
use hvcore::synic::MsrOutcome;
use spin::{Mutex, Once};

use crate::kick;
use crate::platform::{Hardware, Others};

struct Machine {
    partition: Partition,
    hardware: Hardware,
}

static MACHINE: Once<Mutex<Machine>> = Once::new();
/// What needs no lock: it never changes.
static FIXED: Once<Fixed> = Once::new();

struct Fixed {
    processors: u32,
    identity: Identity,
}

/// Makes the machine known. Called once, before the guest runs.
pub fn init(partition: Partition, hardware: Hardware, identity: Identity) {
    FIXED.call_once(|| Fixed { processors: hardware.processors, identity });
    MACHINE.call_once(|| Mutex::new(Machine { partition, hardware }));
}

fn with<R>(work: impl FnOnce(&mut Partition, &mut Hardware) -> R) -> R {
    let machine = MACHINE.get().expect("the machine exists before the guest");
    let Machine { partition, hardware } = &mut *machine.lock();
    let result = work(partition, hardware);
    if core::mem::replace(&mut hardware.others, Others::Current) == Others::Outdated {
        kick::others(hardware.processors);
    }
    result
}

fn fixed() -> &'static Fixed {
    FIXED.get().expect("the machine exists before the guest")
}

/// Number of processors.
pub fn processor_count() -> u32 {
    fixed().processors
}

/// What the guest is told that it is.
pub fn identity() -> Identity {
    fixed().identity
}

/// A processor's instruction that makes a hypercall.
pub fn vmmcall(vp: VpIndex, registers: Registers) -> Progress {
    with(|partition, hardware| {
        let progress = partition.vmmcall(hardware, vp, registers);
        // A record that is not read hides the next fault of the same device.
        hardware.vtd.collect_faults();
        progress
    })
}

/// Reads one of the partition's MSRs; `None` when it has no such.
pub fn msr_read(vp: VpIndex, msr: u32) -> Option<u64> {
    with(|partition, _| partition.msr_read(vp, msr))
}

/// Writes one of the partition's MSRs.
pub fn msr_write(vp: VpIndex, msr: u32, value: u64) -> MsrOutcome {
    with(|partition, hardware| partition.msr_write(hardware, vp, msr, value))
}

/// Whether a virtual processor is there to be started; a guest that starts another one is told nothing, as by a machine.
pub fn may_start(vp: VpIndex) -> bool {
    with(|partition, hardware| partition.may_start(hardware, vp))
}

/// A command of the test interface: reply code and value.
pub fn control(ecx: u32, ebx: u32, edx: u32) -> (u32, u64) {
    with(|partition, hardware| partition.control(hardware, ecx, ebx, edx))
}

/// The guest, at `rip`, writes the 64-bit word at `gpa`, which the core wants to see.
pub fn watched_write(gpa: u64, operation: Operation, rip: u64) -> WriteOutcome {
    with(|partition, hardware| partition.watched_write(hardware, Gpa(gpa), operation, rip))
}

/// The guest, at `rip`, writes something else to the page of `gpa`, which the core wants to see.
pub fn watched_foreign_write(gpa: u64, rip: u64) -> WriteOutcome {
    with(|partition, hardware| partition.watched_foreign_write(hardware, Gpa(gpa), rip))
}

/// Copies what a guest processor sees at the virtual `address` to `buf`, as far as it is mapped; tells how many bytes.
/// The processor's own tables have the format of the IOMMU's first stage.
pub fn read_virtual(root: u64, levels: PagingLevels, address: u64, buf: &mut [u8]) -> usize {
    const PAGE: u64 = 4096;
    with(|_, hardware| {
        let mut done = 0;
        while done < buf.len() {
            let at = address.wrapping_add(done as u64);
            let Ok(leaf) = walk::walk(hardware, Gpa(root), levels, Iova(at)) else { return done };
            let end = buf.len().min(done + (PAGE - at % PAGE) as usize);
            if hardware.read(leaf.address, &mut buf[done..end]).is_err() {
                return done;
            }
            done = end;
        }
        done
    })
}

/// Writes the run's figures to the log.
pub fn summary() {
    with(|partition, hardware| partition.summary(hardware));
}
