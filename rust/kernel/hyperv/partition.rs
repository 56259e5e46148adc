// SPDX-License-Identifier: GPL-2.0

//! The partition that the kernel runs in.
//!
//! # Examples
//!
//! ```
//! use kernel::hyperv::partition::{
//!     self,
//!     Kind, //
//! };
//!
//! /// Whether the hypervisor keeps the tables of this partition's devices.
//! fn has_device_domains() -> bool {
//!     match partition::kind() {
//!         Kind::Root | Kind::L1vh => partition::has_device_domains(),
//!         Kind::None | Kind::Guest | Kind::ConfidentialGuest => false,
//!     }
//! }
//!
//! assert!(partition::kind() != Kind::None || !has_device_domains());
//! ```

use crate::bindings;

/// The kind of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel does not run on Hyper-V, or the hypercall page is not set up.
    None,
    /// An ordinary guest.
    Guest,
    /// An ordinary guest that is isolated from the host (by VBS, SNP or TDX). The host cannot read
    /// its memory.
    ConfidentialGuest,
    /// The partition that owns the machine's devices and creates other partitions.
    Root,
    /// A guest that creates other partitions.
    L1vh,
}

/// The kind of this partition.
///
/// Context: any, once `hyperv_init()` has run.
pub fn kind() -> Kind {
    // SAFETY: These functions have no preconditions.
    let (initialized, parent, root, isolated) = unsafe {
        (
            bindings::hv_is_hyperv_initialized(),
            bindings::hv_parent_partition(),
            bindings::hv_root_partition(),
            bindings::hv_is_isolation_supported(),
        )
    };
    match (initialized, parent, isolated) {
        (false, _, _) => Kind::None,
        (true, true, _) if root => Kind::Root,
        (true, true, _) => Kind::L1vh,
        (true, false, true) => Kind::ConfidentialGuest,
        (true, false, false) => Kind::Guest,
    }
}

/// Whether the hypervisor offers the partition device domains whose tables the hypervisor keeps.
/// This is CPUID 0x40000003 EDX bit 24. The bit's name comes from drivers of the root partition
/// that were posted for Linux.
///
/// Context: any, once the hypervisor was detected.
pub fn has_device_domains() -> bool {
    // SAFETY: The structure is filled when the hypervisor is detected, which is before any driver
    // runs, and does not change afterwards.
    let features = unsafe { bindings::ms_hyperv.misc_features };
    features & bindings::HV_DEVICE_DOMAINS_AVAILABLE != 0
}
