// SPDX-License-Identifier: GPL-2.0
//! Attacks: what a device can reach and what not, row by row, and the same rows on machines without protection.

use super::common::with;
use crate::case::Case;
use crate::expect::{self, Times};
use crate::initramfs::Pack;
use crate::mode;

/// Two edu, of which one attacks.
fn attack(name: &'static str, scenario: &'static str) -> Case {
    two_edu(Case::new("attack", name, scenario))
}

/// Two edu.
pub fn two_edu(case: Case) -> Case {
    case.devices(&["edu", "edu"])
}

/// How often a device is withdrawn and offered anew.
const OFFERED_ANEW: usize = 2;

/// Huge pages for an arena of 2 GiB in one piece, between pages of which there is room for a mapping of 1 GiB.
pub fn with_arena(case: Case) -> Case {
    with(case.memory("5G"), &["hugepagesz=1G", "hugepages=2", "hugepagesz=2M", "hugepages=2"])
}

/// The module that makes DMA API mappings.
fn with_module(case: Case) -> Case {
    case.pack(Pack::Attack)
}

/// The same with bounce buffers, which untrusted devices need. Without a table they would be forced on all devices.
pub fn with_bounces(case: Case) -> Case {
    with_module(case).append("swiotlb=force")
}

/// A huge page for an arena of 2 MiB.
fn at_start(name: &'static str, scenario: &'static str) -> Case {
    with(attack(name, scenario), &["hugepagesz=2M", "hugepages=2"]).devices(&["edu"])
}

/// The same rows where domains protect nothing. Devices whose drivers use the DMA API would not work.
fn bare(case: Case) -> Case {
    case.hypervisor("protection=off cache=off").control_by_guest().thorough()
}

/// One kernel gives way to the next while edu does DMA to memory that both leave alone.
fn kexec(name: &'static str, scenario: &'static str, next: &'static str) -> Case {
    with(with_module(attack(name, scenario)), &mode::STRICT)
        // The memory is in the middle of it.
        .memory("1G")
        .append("memmap=4M$0x20000000")
        .pack(Pack::Kernel)
        .followed_by(&[next])
        .expect(expect::driver_up().times(Times::Exactly(2)))
        .thorough()
}

/// No flush has an effect, and minihv does not hold that against the guest.
const WITHOUT_FLUSHES: &str = "cache=off inject=d0:0:1:all:omitted inject=d1:0:1:all:omitted";

/// The rows where nothing protects: each that forbids something must fail. None of them shows that the hypervisor's own
/// memory is out of reach, or that the interrupt window has no memory behind it; there is no machine where it is otherwise.
fn controls() -> Vec<Case> {
    vec![
        // In bypass, for the rows of both kinds of domains.
        with(with_module(attack("strict-unprotected", "attack-dma-api-bare")), &mode::IDENTITY)
            .control_by_guest()
            .thorough(),
        with(with_bounces(attack("deferred-unprotected", "attack-deferred-bare")), &mode::DEFERRED)
            .hypervisor(WITHOUT_FLUSHES)
            .expect(expect::driver_up())
            .control_by_guest()
            .thorough(),
        bare(with(with_arena(attack("type1-unprotected", "attack-type1-bare")), &mode::STRICT))
            .expect(expect::taken_away(OFFERED_ANEW)),
        bare(with(with_arena(attack("iommufd-unprotected", "attack-iommufd-bare")), &mode::STRICT))
            .expect(expect::taken_away(OFFERED_ANEW)),
        // A host that starts devices in bypass.
        with(at_start("start-unblocked", "attack-start-shut-bare"), &mode::UNMANAGED)
            .append("hv_pviommu=off")
            .control_by_guest()
            .thorough(),
        bare(with(at_start("no-driver-bound-unprotected", "attack-unbound-bare"), &mode::STRICT)),
        bare(kexec("kexec-unprotected", "attack-kexec-bare", "attack-kexec-arrived-bare")),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    [tests(), controls()].concat()
}

fn tests() -> Vec<Case> {
    vec![
        with(with_bounces(attack("strict", "attack-dma-api")), &mode::STRICT).expect(expect::driver_up()),
        with(with_bounces(attack("deferred", "attack-deferred")), &mode::DEFERRED).expect(expect::driver_up()),
        with(with_arena(attack("type1", "attack-type1")), &mode::STRICT)
            .expect(expect::driver_up())
            .expect(expect::taken_away(OFFERED_ANEW)),
        with(with_arena(attack("iommufd", "attack-iommufd")), &mode::STRICT)
            .expect(expect::driver_up())
            .expect(expect::taken_away(OFFERED_ANEW))
            // How often a device moves between two domains in the time of one transfer depends on the machine.
            .thorough(),
        with(with_module(attack("identity", "attack-identity")), &mode::IDENTITY).expect(expect::driver_up()),
        with(at_start("start-bypass", "attack-start-open"), &mode::UNMANAGED).append("hv_pviommu=off"),
        with(at_start("start-blocked", "attack-start-shut"), &mode::UNMANAGED)
            .append("hv_pviommu=off")
            .hypervisor("start=blocked"),
        with(at_start("no-driver-bound", "attack-unbound"), &mode::STRICT).expect(expect::driver_up()),
        kexec("kexec", "attack-kexec", "attack-kexec-arrived"),
    ]
}
