// SPDX-License-Identifier: GPL-2.0
//! What cases of several suites have in common.

use crate::case::Case;
use crate::expect::{Expectation, Times};

/// A domain is created with a number that is in use. What is set up anew counts domains from 1, as if the kernel's own
/// were not there; they have those numbers.
pub const NUMBER_TAKEN: &str = "^0xb1 CREATE_DEVICE_DOMAIN: 0x65 HV_STATUS_KEY_ALREADY_EXISTS$";

/// To minihv, and to the devices, the driver looks as if it made no flushes.
pub const OMITTED: &str = "inject=d0:0:1:all:omitted inject=d1:0:1:all:omitted";

/// A line of the kernel log, and how often it is there.
pub fn says(meaning: &str, pattern: &str, times: Times) -> Expectation {
    Expectation { meaning: meaning.to_owned(), pattern: pattern.to_owned(), times }
}

/// Adds words to a case's kernel command line.
pub fn with(case: Case, words: &[&str]) -> Case {
    words.iter().fold(case, |case, word| case.append(word))
}

/// Where a driver may not refuse, the IOMMU core warns: when a program detaches the device, when it closes the device, and
/// when the device appears. A warning from elsewhere is none of them.
pub fn core_warns(case: Case) -> Case {
    const CORE: &str = "drivers/iommu/iommu.c";
    case.known_warning(CORE, "iommu_detach_group_handle", "iommufd_device_detach")
        .known_warning(CORE, "iommu_device_release_dma_owner", "iommufd_device_destroy")
        .known_warning(CORE, "iommu_setup_default_domain", "iommu_bus_notifier")
}

/// Huge pages of both sizes for user space. The machine has a hole below 4 GiB: it takes this much RAM for 1 GiB in one
/// piece.
pub fn with_huge_pages(case: Case) -> Case {
    with(case.memory("3584M"), &["hugepagesz=1G", "hugepages=1", "hugepagesz=2M", "hugepages=4"])
}

/// What the kernel takes itself for.
pub fn runs_as(kind: &str) -> Expectation {
    let pattern = format!("^Hyper-V: running as {kind} partition");
    Expectation { meaning: format!("the kernel runs as {kind}"), pattern, times: Times::Once }
}
