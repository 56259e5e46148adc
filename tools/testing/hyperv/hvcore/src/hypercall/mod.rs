// SPDX-License-Identifier: GPL-2.0
//! Hypercall mechanics: control word, parameter blocks, the table of calls, the result word.
//!
//! What the calls do is elsewhere: [`crate::iommu`] and [`crate::vmbus`]; [`crate::partition`] brings both together.

pub mod codes;
pub mod control_word;
pub mod dispatch;
pub mod fields;
