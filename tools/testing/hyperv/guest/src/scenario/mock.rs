// SPDX-License-Identifier: GPL-2.0
//! A second driver on the abstractions.

use super::checks::{KMEMLEAK, VIOLATIONS};
use super::{check, Check, Scenario};
use crate::checks::mock;

const DEVICES: Check = check("mock-devices-are-found", mock::devices);
const TESTS: Check = check("mock-driver-passes-the-kernels-tests", mock::tests);
const HELD: Check = check("mock-driver-is-held-by-its-devices", mock::held);
const ROUNDS: Check = check("mock-driver-comes-and-goes", mock::rounds);

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "mock",
    summary: "the mock IOMMU driver of the kernel's Rust samples",
    checks: &[DEVICES, TESTS, HELD, ROUNDS, KMEMLEAK, VIOLATIONS],
}];
