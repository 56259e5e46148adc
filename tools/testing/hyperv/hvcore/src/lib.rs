// SPDX-License-Identifier: GPL-2.0
//! The hardware-free core of minihv.
//!
//! [`partition::Partition`] is the whole of the Hyper-V interface that one guest sees; [`platform::Platform`] is what
//! it needs of the machine. Nothing here touches hardware, so all of it is tested and fuzzed on the host: the property
//! tests try more cases with `PROPTEST_CASES=100000 cargo test -p hvcore`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
pub mod bundle;
pub mod cachelog;
pub mod counters;
pub mod firmware_acpi;
pub mod guid;
pub mod hostile;
pub mod hypercall;
pub mod identity;
pub mod ids;
pub mod inject;
pub mod iommu;
pub mod memory_map;
pub mod nt_status;
pub mod options;
pub mod overlay;
pub mod paging;
pub mod partition;
pub mod platform;
pub mod report;
pub mod request;
pub mod root;
pub mod startup;
pub mod status;
pub mod synic;
pub mod test_interface;
pub mod vmbus;
pub mod vpci;
pub mod vtd;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
