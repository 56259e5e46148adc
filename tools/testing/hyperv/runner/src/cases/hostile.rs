// SPDX-License-Identifier: GPL-2.0
//! A host that answers at random, from a seed.
//!
//! The sequences of a case have seeds that follow each other, from the case's own on. A failing one prints its seed,
//! and `hvtest.seed=SEED hvtest.rounds=1` in place of the case's words runs it alone.

use super::common::{core_warns, says, with, NUMBER_TAKEN};
use crate::case::Case;
use crate::expect::{Expectation, Times};
use crate::mode;

/// What the driver may say when a host answers nonsense: one line for each thing that went wrong.
const COMPLAINTS: [&str; 15] = [
    r"^hv_pviommu: not used: the host offers ",
    r"^hv_pviommu: HVCALL_GET_IOMMU_CAPABILITIES: ",
    r"^hv_pviommu: cannot be set up: errno -\d+$",
    r"^hv_pviommu: no (blocking|identity) domain: ",
    r"^hv_pviommu: HVCALL_CREATE_DEVICE_DOMAIN: .*; domain \d+ is used instead, \d+ numbers are retired$",
    r"^hv_pviommu: HVCALL_DELETE_DEVICE_DOMAIN of domain \d+: .*; its number is retired$",
    r"^hv_pviommu: domain \d+ cannot be flushed: .*; \d+ devices blocked, \d+ not$",
    r"^hv_pviommu: HVCALL_FLUSH_DEVICE_DOMAIN_LIST(: .*; the whole domain is flushed instead| is not known to the host, .*)$",
    r"^hv_pviommu: the host refuses 5-level tables, going on with 4 levels$",
    r"^hv_pviommu: \d+ devices are not blocked at shutdown$",
    r" IOMMU: no new domain: ",
    r" IOMMU: HVCALL_(ATTACH_DEVICE_DOMAIN|GET_LOGICAL_DEVICE_PROPERTY) ",
    r" IOMMU: (stays blocked, domain \d+ is not to be used any more|the host has taken the device away)$",
    r" IOMMU: not in the blocking domain, detached instead$",
    r" IOMMU: DMA is not blocked but by the device: ",
];

/// Lets the driver complain.
fn complains(case: Case) -> Case {
    COMPLAINTS.into_iter().fold(case, |case, pattern| {
        let (meaning, pattern) = ("what a hostile host answers is a line".to_owned(), pattern.to_owned());
        case.expect(Expectation { meaning, pattern, times: Times::AtMost(usize::MAX) })
    })
}

fn hostile(name: &'static str, scenario: &'static str) -> Case {
    complains(with(Case::new("hostile", name, scenario).devices(&["edu"]), &mode::STRICT))
}

/// So many sequences from this seed on.
fn sequences(name: &'static str, scenario: &'static str, seed: u64, rounds: u32) -> Case {
    hostile(name, scenario).append(&format!("hvtest.seed={seed:#x}")).append(&format!("hvtest.rounds={rounds}"))
}

/// A boot under one seed. Devices without drivers: what the host does to those of the kernel is the matrix's business.
fn boot(name: &'static str, hypervisor: &'static str) -> Case {
    let served = says("the driver comes up or not", r"^hv_pviommu: aperture 0x0-", Times::AtMost(1));
    core_warns(hostile(name, "hostile-boot")).devices(&["edu", "edu+edu"]).hypervisor(hypervisor).expect(served)
}

macro_rules! boots {
    ($($seed:literal)*) => {
        [$((concat!("boot-", $seed), concat!("hostile=", $seed))),*]
    };
}

/// Seeds of boots: hosts of every mood.
const BOOTS: [(&str, &str); 30] =
    boots! { 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 };
/// How many of them run always.
const QUICK_BOOTS: usize = 1;

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        // Once the host has lied, the guest is not blamed any more.
        sequences("probe", "hostile-probe", 0x1_0000, 1800).violation(NUMBER_TAKEN),
        sequences("user", "hostile-user", 0x2_0000, 160),
        core_warns(sequences("close", "hostile-close", 0x3_0000, 30)),
        core_warns(sequences("hotplug", "hostile-hotplug", 0x4_0000, 30)),
        sequences("long-probe", "hostile-probe", 0x100_0000, 20_000).violation(NUMBER_TAKEN).minutes(20).thorough(),
        sequences("long-user", "hostile-user", 0x200_0000, 2000).minutes(20).thorough(),
        core_warns(sequences("long-close", "hostile-close", 0x300_0000, 500)).minutes(20).thorough(),
        core_warns(sequences("long-hotplug", "hostile-hotplug", 0x400_0000, 500)).minutes(20).thorough(),
    ];
    for (index, (name, hypervisor)) in BOOTS.into_iter().enumerate() {
        let case = boot(name, hypervisor);
        cases.push(if index < QUICK_BOOTS { case } else { case.thorough() });
    }
    cases
}
