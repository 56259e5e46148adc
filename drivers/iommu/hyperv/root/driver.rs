// SPDX-License-Identifier: GPL-2.0

//! The driver as a type, and its name.

use kernel::prelude::*;

/// The driver, to the abstractions. What the core calls stands in `ops.rs`.
pub(crate) struct RootIommu;

/// The prefix of messages, and the name of the IOMMU in `/sys/class/iommu` and of its directory in
/// debugfs.
pub(crate) const NAME: &CStr = c"hv_root_iommu";
