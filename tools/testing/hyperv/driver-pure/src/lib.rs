// SPDX-License-Identifier: GPL-2.0
//! The driver's arithmetic, from the very files that the kernel is built from.
//!
//! Only tests use it; the kernel runs a smaller set of them as KUnit.
#![cfg(test)]

#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/host/aperture.rs"]
mod aperture;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/host/capabilities.rs"]
mod capabilities;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/domain/flush_range.rs"]
mod flush_range;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/device/protocol.rs"]
mod protocol;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/host/translation.rs"]
mod translation;

mod root;

mod aperture_tests;
mod flush_range_tests;
mod protocol_tests;
mod root_capabilities_tests;
mod root_domains_tests;
mod root_model;
mod root_places_tests;
mod root_transfer_tests;
