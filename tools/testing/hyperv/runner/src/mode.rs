// SPDX-License-Identifier: GPL-2.0
//! The types of default domains: words for the kernel, and for the guest program's idea of what it should see.

/// The kernel translates and flushes at once.
pub const STRICT: [&str; 2] = ["iommu.strict=1", "hvtest.mode=strict"];
/// It translates, and defers flushes.
pub const DEFERRED: [&str; 2] = ["iommu.strict=0", "hvtest.mode=deferred"];
/// Its devices are in bypass.
pub const IDENTITY: [&str; 2] = ["iommu=pt", "hvtest.mode=identity"];
/// There is no IOMMU.
pub const UNMANAGED: [&str; 1] = ["hvtest.mode=unmanaged"];
