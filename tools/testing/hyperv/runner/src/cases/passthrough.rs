// SPDX-License-Identifier: GPL-2.0
//! Devices in the hands of programs: VFIO with type 1 containers, and iommufd.

use super::{mode, with, with_huge_pages};
use crate::case::{Case, Pack};
use crate::expect;

/// A guest with huge pages of both sizes.
fn huge_pages(name: &'static str, scenario: &'static str) -> Case {
    with_huge_pages(Case::new("passthrough", name, scenario))
}

/// Two edu and an NVMe controller, each in a group of its own.
fn both_interfaces(name: &'static str) -> Case {
    huge_pages(name, "passthrough").devices(&["edu", "edu", "nvme"]).expect(expect::driver_up())
}

/// The programs of samples/.
fn samples() -> Vec<Case> {
    // edu alone: without flushes, no driver comes up.
    let stale = Case::new("passthrough", "samples-see-stale", "samples-stale").devices(&["edu"]);
    vec![
        with(huge_pages("samples", "samples").devices(&["edu", "nvme"]).pack(Pack::Samples), &mode::STRICT),
        with(stale.pack(Pack::Samples).hypervisor("drop-flush=on"), &mode::STRICT).control_by_guest().thorough(),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let shared = Case::new("passthrough", "shared-group", "shared-group").devices(&["edu+nvme"]);
    let interfaces = vec![
        with(both_interfaces("both-interfaces"), &mode::STRICT),
        with(shared, &mode::STRICT),
        with(both_interfaces("deferred"), &mode::DEFERRED).thorough(),
        with(both_interfaces("identity"), &mode::IDENTITY).thorough(),
    ];
    [interfaces, samples()].concat()
}
