// SPDX-License-Identifier: GPL-2.0
//! Hypercall mechanics: the hypercall page, control word, parameter blocks, the table of calls, the result word, and when
//! a call of one processor is carried out among those of others.
//!
//! What a call asks for is decoded in [`crate::request`]. What it does is elsewhere: [`crate::iommu`], [`crate::vmbus`] and
//! [`crate::root`]; [`crate::partition`] brings all together.

pub mod calls;
pub mod codes;
pub mod control_word;
pub mod fields;
pub mod frame;
pub mod list;
pub mod page;
pub mod schedule;
pub mod table;
