// SPDX-License-Identifier: GPL-2.0
//! The driver's arithmetic, from the very files that the kernel is built from.
//!
//! Only tests use it; the kernel runs a smaller set of them as KUnit.
#![cfg(test)]

#[path = "../../../../../drivers/iommu/hyperv/aperture.rs"]
mod aperture;
#[path = "../../../../../drivers/iommu/hyperv/capabilities.rs"]
mod capabilities;
#[path = "../../../../../drivers/iommu/hyperv/flush_range.rs"]
mod flush_range;
#[path = "../../../../../drivers/iommu/hyperv/translation.rs"]
mod translation;

mod aperture_tests;
mod flush_range_tests;
