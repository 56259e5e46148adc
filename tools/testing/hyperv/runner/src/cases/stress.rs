// SPDX-License-Identifier: GPL-2.0
//! Many domains, several processors, a fully preemptible kernel.

use super::common::{says, with};
use crate::case::{Case, Variant};
use crate::expect::{self, Expectation, Times};
use crate::initramfs::Pack;
use crate::mode;
use crate::qemu::Threads;

/// On a fully preemptible kernel. pci-hyperv composes interrupts under a raw lock, and its way to the host takes locks
/// that sleep there: that is reported, and the reason why lockdep sees no more of such a boot. Whatever else sleeps
/// where it must not is found.
fn preempt_rt(case: Case) -> Case {
    case.variant(Variant::Rt).known_caller("hv_compose_msi_msg").thorough()
}

/// With the kernel's detector of data races, which sees C code only.
fn kcsan(case: Case) -> Case {
    case.variant(Variant::Kcsan).thorough()
}

/// The host gives no domain; said for each one that was asked for.
fn no_new_domain() -> Expectation {
    says(
        "the refused domain is an error",
        r"^vfio-pci [0-9a-f:.]+: IOMMU: no new domain: HVCALL_CREATE_DEVICE_DOMAIN: 0x38 INSUFFICIENT_DEVICE_DOMAINS",
        Times::Once,
    )
}

/// How often a device of `parallel-hotplug` comes and goes. Every other time the guest is not told.
const PARALLEL_OFFERS: usize = 8;

fn stress(name: &'static str, scenario: &'static str, rounds: u32, words: &[&str]) -> Case {
    with(Case::new("stress", name, scenario), words)
        .append(&format!("hvtest.rounds={rounds}"))
        .expect(expect::driver_up())
}

/// So many domains one after the other and a third of them, at most 1000, at once; with the kernel's search for memory
/// that nobody can reach any more.
fn domains(name: &'static str, rounds: u32) -> Case {
    stress(name, "domains", rounds, &mode::STRICT).append("kmemleak=on")
}

fn turmoil(name: &'static str, rounds: u32, words: &[&str]) -> Case {
    // In each round, the host takes one controller away and gives it back.
    stress(name, "turmoil", rounds, words)
        .cpus(4)
        .devices(&["nvme", "edu", "edu", "nvme"])
        .expect(expect::taken_away(rounds as usize))
}

/// On a host that lets hypercalls overtake one another, by a seed.
fn interleaved(name: &'static str, hypervisor: &'static str, words: &[&str]) -> Case {
    Case { scenario: "interleaved", ..turmoil(name, 3, words) }.hypervisor(hypervisor)
}

/// With a thread of QEMU's for each processor: what takes two of them at the same instant shows up here only. Otherwise
/// they take turns in one thread. A boot that the emulator breaks is repeated, and that is shown.
fn parallel() -> Vec<Case> {
    let hotplug = with(Case::new("stress", "parallel-hotplug", "hotplug"), &mode::STRICT)
        .devices(&["nvme", "nvme", "edu"])
        .append("kmemleak=on")
        .append(&format!("hvtest.rounds={PARALLEL_OFFERS}"))
        .expect(expect::taken_away(PARALLEL_OFFERS / 2));
    let kexec = with(Case::new("stress", "parallel-kexec", "kexec"), &mode::STRICT)
        .pack(Pack::Kernel)
        .followed_by(&["kexec-arrived"])
        .expect(expect::driver_up().times(Times::Exactly(2)));
    let cases = [
        // Four threads map and unmap by VFIO while devices are attached, read from, and taken away.
        turmoil("parallel-turmoil", 10, &mode::STRICT),
        turmoil("parallel-turmoil-deferred", 10, &mode::DEFERRED),
        // The DMA API's own benchmark, four threads, is part of these; the host lets hypercalls overtake one another.
        interleaved("parallel-interleaved", "interleave=5", &mode::STRICT),
        // Devices come and go while others are in use.
        hotplug,
        // The other processors stop, and start again in the next kernel.
        kexec,
    ];
    cases.into_iter().map(|case| case.cpus(4).threads(Threads::Multi).thorough()).collect()
}

/// A module's mappings of edu take all addresses of 28 and of 32 bits.
fn exhausted(name: &'static str, rounds: u32, words: &[&str]) -> Case {
    stress(name, "iova-exhausted", rounds, words).devices(&["edu"]).pack(Pack::Attack)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let one_by_one = vec![
        domains("domains", 300),
        domains("domains-10000", 10_000).memory("2G").thorough(),
        stress("domain-quota", "domain-quota", 0, &mode::STRICT)
            .hypervisor("quota=24")
            .expect(no_new_domain())
            .thorough(),
        exhausted("iova-exhausted", 2, &mode::DEFERRED).thorough(),
        exhausted("iova-exhausted-strict", 3, &mode::STRICT).thorough(),
        turmoil("four-processors", 4, &mode::STRICT),
        turmoil("four-processors-long", 30, &mode::STRICT).thorough(),
        turmoil("four-processors-deferred", 10, &mode::DEFERRED).thorough(),
        // Some 1600 flushes: one of them that is left out is noticed.
        turmoil("four-processors-deferred-long", 40, &mode::DEFERRED).thorough(),
        interleaved("interleaved-1", "interleave=1", &mode::STRICT),
        interleaved("interleaved-2", "interleave=2", &mode::STRICT).thorough(),
        interleaved("interleaved-3-deferred", "interleave=3", &mode::DEFERRED).thorough(),
        preempt_rt(with(Case::new("stress", "preempt-rt-dma", "dma"), &mode::STRICT).expect(expect::driver_up())),
        preempt_rt(turmoil("preempt-rt-four-processors", 4, &mode::STRICT)),
        kcsan(with(Case::new("stress", "kcsan-dma", "dma"), &mode::STRICT).expect(expect::driver_up())),
        kcsan(turmoil("kcsan-four-processors", 4, &mode::STRICT)),
        kcsan(turmoil("kcsan-four-processors-deferred", 4, &mode::DEFERRED)),
    ];
    [one_by_one, parallel()].concat()
}
