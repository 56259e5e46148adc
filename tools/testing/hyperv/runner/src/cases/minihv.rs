// SPDX-License-Identifier: GPL-2.0
//! The hypervisor by itself.

use crate::case::Case;
use crate::demands::Reporter;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("minihv", "selftest", "none")
        .devices(&["edu", "virtio-rng,ats=on"])
        .hypervisor("selftest=on ats=on")
        .reported_by(Reporter::Hypervisor)]
}
