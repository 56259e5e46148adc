// SPDX-License-Identifier: GPL-2.0
//! Tests of the tests: something is broken on purpose, and the check that should see it must fail.

use super::{mode, with};
use crate::case::Case;

/// The cases.
pub fn cases() -> Vec<Case> {
    // edu alone: without flushes, no driver comes up.
    let stale = |name| {
        let case = Case::new("negative", name, "stale").devices(&["edu"]);
        with(case, &mode::STRICT).control("vfio-unmap-flushes", "^STALE TRANSLATION: a page after its unmap")
    };
    vec![
        stale("driver-drops-flushes").append("hv_pviommu.drop_flush=1"),
        stale("hypervisor-drops-flushes").hypervisor("drop-flush=on"),
    ]
}
