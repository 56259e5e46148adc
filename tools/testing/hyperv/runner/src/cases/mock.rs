// SPDX-License-Identifier: GPL-2.0
//! A second driver on the abstractions, without hardware.

use crate::case::Case;
use crate::expect::KunitSuite;

/// The tests that the module of tests has.
const SUITE: KunitSuite = KunitSuite { name: "rust_iommu_mock", tests: 7 };

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![module("module", 10), module("module-long", 100).thorough()]
}

/// The module is loaded and unloaded so often.
fn module(name: &'static str, rounds: u32) -> Case {
    Case::new("mock", name, "mock")
        .devices(&["edu"])
        .append(&format!("hvtest.rounds={rounds}"))
        // Of the kernel's own tests, those alone.
        .append("kunit.filter_glob=rust_iommu_mock")
        .append("kmemleak=on")
        .kunit_suites(&[SUITE])
}
