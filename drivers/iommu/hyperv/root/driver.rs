// SPDX-License-Identifier: GPL-2.0

//! The driver as a type, and its name.

use kernel::prelude::*;

/// The driver, as a type for the abstractions. `ops.rs` has what the core calls.
pub(crate) struct RootIommu;

/// The prefix of messages. Also the name of the IOMMU in `/sys/class/iommu`, and of its directory
/// in debugfs.
pub(crate) const NAME: &CStr = c"hv_root_iommu";
