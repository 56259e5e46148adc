// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests.

use crate::case::Case;
use crate::expect;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("kunit", "built-in", "kunit").devices(&["edu"]).kunit_suites(&expect::KUNIT_SUITES)]
}
