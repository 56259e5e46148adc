// SPDX-License-Identifier: GPL-2.0
//! ATS: a virtio disk that has it, behind an IOMMU that answers its requests.

use super::{mode, with};
use crate::case::Case;
use crate::expect::{self, Expectation, Times};

/// Switching ATS on and off is no news.
fn quiet() -> Expectation {
    Expectation {
        meaning: "nothing is said about ATS".to_owned(),
        pattern: r"IOMMU: .*\bATS\b".to_owned(),
        times: Times::Never,
    }
}

fn ats(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    with(Case::new("ats", name, scenario), words)
        .devices(&["nvme", "edu", "virtio-blk,ats=on"])
        .hypervisor("ats=on")
        .expect(expect::driver_up())
        .expect(quiet())
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        ats("strict", "ats", &mode::STRICT).expect(expect::taken_away(1)),
        ats("deferred", "ats", &mode::DEFERRED).expect(expect::taken_away(1)).thorough(),
        ats("identity", "ats-identity", &mode::IDENTITY),
        ats("not-offered", "ats-not-offered", &mode::STRICT).hypervisor("ats=off").thorough(),
        ats("failed-flush", "ats-failed-flush", &mode::STRICT)
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(1, 0))
            .thorough(),
        // A test of the test: the flush that the check is about is left out.
        ats("device-flush-left-out", "ats-unmap", &mode::STRICT)
            .hypervisor("ats=on drop-flush=device-tlb")
            .control("ats-unmap-flushes-device", r"^Type1: 1 pages unmapped, 0 device TLB invalidations for 0 pages$")
            .thorough(),
    ]
}
