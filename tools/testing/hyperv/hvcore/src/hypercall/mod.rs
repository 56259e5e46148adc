// SPDX-License-Identifier: GPL-2.0
//! Hypercall mechanics: the hypercall page, control word, parameter blocks, the table of calls, the result word, and when
//! a call of one processor is carried out among those of others.
//!
//! What the calls do is elsewhere: [`crate::iommu`] and [`crate::vmbus`]; [`crate::partition`] brings both together.

pub mod codes;
pub mod control_word;
pub mod dispatch;
pub mod fields;
pub mod page;
pub mod schedule;
