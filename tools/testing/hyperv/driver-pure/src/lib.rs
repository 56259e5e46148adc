// SPDX-License-Identifier: GPL-2.0
//! The driver's arithmetic, from the very files that the kernel is built from.
//!
//! Only tests use it; the kernel runs a smaller set of them as KUnit.
#![cfg(test)]

#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/aperture.rs"]
mod aperture;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/capabilities.rs"]
mod capabilities;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/flush_range.rs"]
mod flush_range;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/protocol.rs"]
mod protocol;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/table_dump.rs"]
mod table_dump;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/translation.rs"]
mod translation;

mod aperture_tests;
mod flush_range_tests;
mod protocol_tests;
mod table_dump_tests;
