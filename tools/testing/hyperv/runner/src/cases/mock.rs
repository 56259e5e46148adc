// SPDX-License-Identifier: GPL-2.0
//! The kernel's Rust samples: a second IOMMU driver on the abstractions, without hardware, and a driver of edu.

use super::common::{says, with};
use crate::case::Case;
use crate::expect::{self, KunitSuite, Times};
use crate::mode;

/// The tests that the module of tests has.
const SUITE: KunitSuite = KunitSuite { name: "rust_iommu_mock", tests: 7 };

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![module("module", 10), module("module-long", 100).thorough(), edu_dma()]
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
        .expect(says(
            "each IOMMU that cannot be taken back says so",
            "^rust_kernel: IOMMU: devices are behind it; it stays registered$",
            Times::Exactly(2),
        ))
}

/// A device's driver that uses the DMA API.
fn edu_dma() -> Case {
    with(Case::new("mock", "edu-dma", "edu-driver"), &mode::STRICT)
        .devices(&["edu"])
        .append("kmemleak=on")
        .expect(expect::driver_up())
}
