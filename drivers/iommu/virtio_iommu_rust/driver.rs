// SPDX-License-Identifier: GPL-2.0

//! The driver as a type.

/// The driver, as a type for the abstractions. `ops.rs` has what the core calls.
pub(crate) struct VirtioIommu;
