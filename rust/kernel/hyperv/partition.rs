// SPDX-License-Identifier: GPL-2.0

//! The partition that the kernel runs in.

use crate::bindings;

/// What the kernel is to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not on Hyper-V, or its hypercall page is not set up.
    None,
    /// An ordinary guest.
    Guest,
    /// An ordinary guest that is isolated from the host (VBS, SNP or TDX): the host cannot read its
    /// memory.
    ConfidentialGuest,
    /// A partition that creates others: root or L1VH.
    Parent,
}

/// The kind of this partition.
///
/// Context: any, once `hyperv_init()` has run.
pub fn kind() -> Kind {
    // SAFETY: These functions have no preconditions.
    let (initialized, parent, isolated) = unsafe {
        (
            bindings::hv_is_hyperv_initialized(),
            bindings::hv_parent_partition(),
            bindings::hv_is_isolation_supported(),
        )
    };
    match (initialized, parent, isolated) {
        (false, _, _) => Kind::None,
        (true, true, _) => Kind::Parent,
        (true, false, true) => Kind::ConfidentialGuest,
        (true, false, false) => Kind::Guest,
    }
}
