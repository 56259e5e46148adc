// SPDX-License-Identifier: GPL-2.0
//! Linux as the root partition: it owns the machine's devices, which all are in the hypervisor's identity domain, and has no
//! driver of its own for the IOMMU.

use super::common::{runs_as, with};
use crate::case::Case;
use crate::demands::Reporter;
use crate::expect::{self, Expectation, Times};
use crate::initramfs::Pack;
use crate::mode;

/// The processors that the partition brings up: by hypercall first, then by start-up IPIs.
fn processors(count: u32) -> Expectation {
    let pattern = format!("^smp: Brought up 1 node, {count} CPUs?$");
    Expectation { meaning: format!("{count} processors are up"), pattern, times: Times::Once }
}

/// The driver that manages other partitions finds all that it needs of the hypervisor.
fn manager() -> Expectation {
    let pattern = "^misc mshv: Hypervisor using classic scheduler without SMT$".to_owned();
    Expectation { meaning: "mshv_root knows the scheduler".to_owned(), pattern, times: Times::Once }
}

/// A crash of the partition leaves the hypervisor where it is.
fn hypervisor_stays() -> Expectation {
    let pattern = "^Hyper-V: hypervisor crash dump area pfn is 0$".to_owned();
    Expectation { meaning: "a crash does not take the hypervisor away".to_owned(), pattern, times: Times::Once }
}

/// Boots of so many kernels, one after the other. The emulator's clocks drift against each other when its host is busy: the
/// kernel is told to trust the counter.
fn kernels(name: &'static str, scenario: &'static str, cpus: u32, count: usize) -> Case {
    let case = with(Case::new("root", name, scenario), &mode::UNMANAGED);
    let each = |expectation: Expectation| expectation.times(Times::Exactly(count));
    case.hypervisor("partition=root")
        .append("tsc=reliable")
        .cpus(cpus)
        .expect(each(runs_as("root")))
        .expect(expect::driver_down())
        .expect(expect::driver_silent())
        .expect(each(manager()))
        .expect(each(hypervisor_stays()))
        .expect(each(processors(cpus)))
        // The kernel allocates memory with a raw spinlock held. Lockdep says so once, and nothing afterwards.
        .known_caller("hv_irq_compose_msi_msg")
}

fn boot(name: &'static str, cpus: u32) -> Case {
    kernels(name, "unmanaged", cpus, 1)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("root", "selftest", "none")
            .devices(&["edu"])
            .hypervisor("partition=root selftest=on")
            .reported_by(Reporter::RootHost),
        boot("boot-1", 1).thorough(),
        boot("boot-2", 2),
        boot("boot-4", 4).thorough(),
        // The second kernel finds the processors started.
        kernels("kexec", "kexec", 2, 2).pack(Pack::Kernel).followed_by(&["unmanaged"]).thorough(),
    ]
}
