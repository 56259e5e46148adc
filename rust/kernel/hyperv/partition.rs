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

/// Whether the hypervisor offers the partition device domains whose tables it keeps itself: CPUID
/// 0x40000003 EDX bit 24, by the name that the root partition's drivers posted for Linux give it.
///
/// Context: any, once the hypervisor was detected.
pub fn has_device_domains() -> bool {
    // SAFETY: The structure is filled when the hypervisor is detected, before any driver runs, and
    // does not change afterwards.
    let features = unsafe { bindings::ms_hyperv.misc_features };
    features & bindings::HV_DEVICE_DOMAINS_AVAILABLE != 0
}
