// SPDX-License-Identifier: GPL-2.0
//! Tracepoints and debugfs.

use super::common::{says, with, OMITTED};
use crate::case::Case;
use crate::expect::{self, Expectation, Times};
use crate::mode;

/// The attach that fails on purpose leaves the device blocked by other means.
fn detached_instead() -> Expectation {
    says(
        "the failing attach to the blocking domain is said",
        r"^vfio-pci [0-9a-f:.]+: IOMMU: not in the blocking domain, detached instead",
        Times::Once,
    )
}

/// The flush that fails on purpose is made up for.
fn flushed_instead() -> Expectation {
    says(
        "the failing list flush is said",
        r"^hv_pviommu: HVCALL_FLUSH_DEVICE_DOMAIN_LIST: 0x71 .*whole domain",
        Times::Once,
    )
}

/// A host width that is not the usual one, and not the aperture's, shows that nothing is made up or mixed up.
fn all_of_it() -> Case {
    let case = Case::new("observe", "tracepoints-and-debugfs", "observe").cpus(2).hypervisor("iova-width=52");
    with(with(case, &mode::STRICT), &["hugepagesz=2M", "hugepages=4"])
        .expect(expect::aperture(47, 4))
        .expect(expect::clamped())
        .expect(detached_instead())
        .expect(flushed_instead())
}

/// Events of flushes that never reach the hypervisor do not pass for its counts.
fn dropped_flushes() -> Case {
    // edu alone: without flushes, no driver comes up.
    let case = Case::new("observe", "dropped-flushes-are-seen", "observe-trace").devices(&["edu"]);
    with(case, &mode::STRICT)
        .hypervisor(OMITTED)
        .control("tracepoints-tell-what-happens", "^told Tally .*, minihv counted Tally ")
        .violation("^cache: ")
        .thorough()
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![all_of_it(), dropped_flushes()]
}
