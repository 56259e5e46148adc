// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests.

use crate::case::Case;
use crate::expect;

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = Case::new("kunit", "built-in", "kunit").devices(&["edu"]);
    vec![expect::KUNIT_SUITES.iter().fold(case, |case, suite| case.kernel_test(suite))]
}
