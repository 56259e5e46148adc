// SPDX-License-Identifier: GPL-2.0
//! A hostile host: whatever it answers, every device is translated, blocked, or reported.

pub mod devices;
pub mod judge;
pub mod probe;
mod sequence;
pub mod user;
