// SPDX-License-Identifier: GPL-2.0
//! Tests of the tests: something is broken on purpose, and the check that should see it must fail.

use super::common::{with, OMITTED};
use crate::case::Case;
use crate::mode;

/// The cases.
pub fn cases() -> Vec<Case> {
    // edu alone: without flushes, no driver comes up.
    let stale = |name| {
        let case = Case::new("negative", name, "stale").devices(&["edu"]);
        with(case, &mode::STRICT).control("vfio-unmap-flushes", "^STALE TRANSLATION: a page after its unmap")
    };
    vec![
        // One page and then two, in a domain that is deleted with them.
        stale("driver-omits-flushes").hypervisor(OMITTED).violation("^cache: "),
        with(Case::new("negative", "dropped-flushes-are-logged", "dropped-flushes").devices(&["edu"]), &mode::STRICT)
            .violation("^cache: domain [0-9]+: iova 0x2040001000-0x2040001fff mapped again before a flush covered it$")
            .violation(
                "^cache: domain [0-9]+: iova 0x2040000000-.* deleted with [0-9]+ pages unmapped and not flushed$",
            ),
        stale("hypervisor-drops-flushes").hypervisor("drop-flush=on"),
    ]
}
