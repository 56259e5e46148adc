// SPDX-License-Identifier: GPL-2.0
//! Counting instructions: the kernel module that measures from inside, the clock for what is measured from outside, and
//! the lines that carry the figures. Where an instruction does not take a nanosecond, they mean nothing.

mod clock;
mod figure;
mod module;

pub use clock::{Cost, Meter};
pub use figure::{Figure, Unit};
pub use module::{Binding, Module};
