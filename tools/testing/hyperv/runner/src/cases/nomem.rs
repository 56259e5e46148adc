// SPDX-License-Identifier: GPL-2.0
//! Allocations of the driver, the registry and the tables that fail, each once.

use super::common::{with, NUMBER_TAKEN};
use crate::case::Case;
use crate::expect;
use crate::mode;

/// The cases.
pub fn cases() -> Vec<Case> {
    let all = with(Case::new("nomem", "each-allocation", "nomem").devices(&["edu"]), &mode::STRICT);
    vec![all.append("kmemleak=on").violation(NUMBER_TAKEN).expect(expect::driver_up())]
}
