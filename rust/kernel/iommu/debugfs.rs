// SPDX-License-Identifier: GPL-2.0

//! The IOMMU drivers' part of debugfs: `/sys/kernel/debug/iommu`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use crate::{
    bindings,
    debugfs::Dir,
    prelude::*, //
};

/// Creates a driver's directory `name`.
///
/// As always in debugfs, a failure is silent: then nothing that the driver creates in the directory
/// appears.
///
/// Context: may sleep; after `core_initcall`.
///
/// # Examples
///
/// ```
/// use kernel::iommu::debugfs;
///
/// let dir = debugfs::dir(c"my-iommu");
/// // What is created in it goes with it.
/// let _domains = dir.subdir(c"domains");
/// ```
pub fn dir(name: &CStr) -> Dir {
    // SAFETY: The IOMMU core sets the pointer before any driver runs, to a directory that it never
    // removes, or to an error. The function takes both, and a null pointer.
    unsafe { Dir::below(bindings::iommu_debugfs_dir, name) }
}
