// SPDX-License-Identifier: GPL-2.0
//! The checks, one concern per file: what is done, the check's name, and the scenarios that are about the concern.
//!
//! Every file here is a module; none is listed anywhere. A check or a helper of another file is used where it fits, but
//! never in a circle.

pub mod attack;
pub mod bench;
pub mod hostile;
pub mod matrix;
pub mod nomem;
pub mod root_matrix;

automod::dir!(pub "src/checks");
