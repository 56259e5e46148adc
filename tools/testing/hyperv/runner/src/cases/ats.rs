// SPDX-License-Identifier: GPL-2.0
//! ATS: a virtio disk that has it, behind an IOMMU that answers its requests.

use super::common::{says, with};
use crate::case::Case;
use crate::expect::{self, Expectation, Times};
use crate::mode;

/// Switching ATS on and off is no news.
fn quiet() -> Expectation {
    says("nothing is said about ATS", r"IOMMU: .*\bATS\b", Times::Never)
}

fn ats(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    with(Case::new("ats", name, scenario), words)
        .devices(&["nvme", "edu", "virtio-blk,ats=on"])
        .hypervisor("ats=on")
        .expect(expect::driver_up())
        .expect(quiet())
}

/// Once the device goes away, and once it cannot be attached.
fn refused(case: Case) -> Case {
    case.expect(expect::taken_away(1)).expect(expect::attach_refused())
}

/// Locks of the kernel whose order is wrong, without the driver: a page fault in a program's view of a device waits for
/// its reset (vfio-pci), which takes the group's lock (the IOMMU core); that is held while a new device's cache of
/// addresses is registered for when processors go; and counters are read into a program's memory under a lock that a
/// processor's coming takes.
const CORE_LOCKS: [&str; 4] = ["&mm->mmap_lock", "&vdev->memory_lock", "&group->mutex", "cpu_hotplug_lock"];

/// lockdep reports that, once; a kernel that has it right is to be noticed.
fn core_order() -> Expectation {
    says(
        "lockdep reports the core's order of locks",
        "^WARNING: possible circular locking dependency detected$",
        Times::Once,
    )
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        refused(ats("strict", "ats", &mode::STRICT)),
        refused(ats("deferred", "ats", &mode::DEFERRED)).thorough(),
        ats("identity", "ats-identity", &mode::IDENTITY),
        ats("not-offered", "ats-not-offered", &mode::STRICT).hypervisor("ats=off").thorough(),
        ats("failed-flush", "ats-failed-flush", &mode::STRICT)
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(1, 0))
            .expect(expect::stays_blocked())
            .thorough(),
        // The guest needs a processor that can go.
        ats("reset-while-touched", "ats-touched", &mode::STRICT).cpus(2).append("hvtest.rounds=10"),
        // lockdep sees nothing more after its report: what there is besides is for the case before.
        ats("reset-while-counted", "ats-counted", &mode::STRICT)
            .cpus(2)
            .append("hvtest.rounds=10")
            .known_cycle(&CORE_LOCKS)
            .expect(core_order())
            .thorough(),
        // A test of the test: the flush that the check is about is left out.
        ats("device-flush-left-out", "ats-unmap", &mode::STRICT)
            .hypervisor("ats=on drop-flush=device-tlb")
            .control("ats-unmap-flushes-device", r"^Type1: 1 pages unmapped, 0 device TLB invalidations for 0 pages$")
            .thorough(),
    ]
}
