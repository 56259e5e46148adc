// SPDX-License-Identifier: GPL-2.0
//! What must not become slower unseen: hypercalls of unmaps, pages that are flushed, and the driver's own instructions
//! for a flush. Instructions are counted, on the release kernel: no result depends on the machine.

use super::common::with;
use crate::bench::{COUNTED, FLUSH_ALL, FLUSH_RANGE};
use crate::case::{Case, Variant};
use crate::expect;
use crate::initramfs::Pack;
use crate::mode;

fn light(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    with(Case::new("bench", name, scenario), words)
        .variant(Variant::Release)
        .counted()
        .devices(&["edu"])
        .pack(Pack::Bench)
        .append(COUNTED)
        .append(&format!("hvtest.range-flush={FLUSH_RANGE:.0}"))
        .append(&format!("hvtest.whole-flush={FLUSH_ALL:.0}"))
        .expect(expect::driver_up())
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![light("strict", "bench-light", &mode::STRICT), light("deferred", "bench-light-deferred", &mode::DEFERRED)]
}
