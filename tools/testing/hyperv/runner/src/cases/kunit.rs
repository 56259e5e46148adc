// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests.

use crate::case::{Case, Variant};
use crate::expect::{self, KunitSuite};

/// The examples of the documentation of the crate `kernel`, of which the project's own are some.
const DOCTESTS: KunitSuite = KunitSuite { name: "rust_doctests_kernel", tests: 100 };

/// The cases.
pub fn cases() -> Vec<Case> {
    let kunit = |name| Case::new("kunit", name, "kunit").devices(&["edu"]);
    vec![
        kunit("built-in").kunit_suites(&expect::KUNIT_SUITES),
        kunit("doctests").variant(Variant::Doctests).kunit_suites(&[DOCTESTS]),
    ]
}
