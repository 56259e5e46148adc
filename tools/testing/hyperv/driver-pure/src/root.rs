// SPDX-License-Identifier: GPL-2.0
//! The driver of the root partition's IOMMU, as far as it has no kernel types.

#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/root/capabilities.rs"]
pub(crate) mod capabilities;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/root/leaf.rs"]
pub(crate) mod leaf;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/root/page_range.rs"]
pub(crate) mod page_range;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../rust/kernel/hyperv/pci_requester.rs"]
pub(crate) mod pci_requester;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/root/places.rs"]
pub(crate) mod places;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/root/transfer.rs"]
pub(crate) mod transfer;
