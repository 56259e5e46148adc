// SPDX-License-Identifier: GPL-2.0

//! Driver of the IOMMU that Hyper-V keeps for the partition that owns the machine's devices.
//!
//! The hypervisor keeps the tables, in memory that the partition gives it. The partition tells it
//! of each page by hypercall, and puts devices into domains. Data flows one way through the
//! modules:
//!
//! - [`device_domain`] and [`simple_calls`], which is shared with the guest's driver: the
//!   hypercalls with their layouts, which are generated from the C header;
//! - [`page_range`], [`transfer`], [`leaf`], [`places`], [`capabilities`]: arithmetic and rules
//!   without kernel types, which are tested outside the kernel, too;
//! - [`domain_name`]: the numbers of domains;
//! - [`calls`]: one function per hypercall; [`memory`]: pages for the hypervisor;
//! - [`readings`]: what undocumented statuses are taken to mean, shared with the guest's driver;
//! - [`switch`]: attaches and detaches, as the hypervisor answers them;
//! - [`sample`]: where things are in memory;
//! - [`mappings`], [`record`]: what is known of a domain; [`instance`]: of the one IOMMU;
//! - [`guide`]: how a reader of a crash dump finds that;
//! - [`endpoint`]: a device behind it;
//! - [`domain`], [`statics`]: the domains;
//! - [`ops`]: what the IOMMU core calls;
//! - [`handover`]: what is given back before another kernel takes over;
//! - [`probe`]: is there an IOMMU?
//! - `debugfs`: what debugfs shows.

#![deny(unsafe_code)]

// The guest's driver makes more calls.
#[allow(dead_code)]
#[path = "../host/blocks.rs"]
mod blocks;
mod calls;
mod capabilities;
#[cfg(CONFIG_IOMMU_DEBUGFS)]
mod debugfs;
mod device_domain;
mod domain;
mod domain_name;
mod driver;
mod endpoint;
mod guide;
mod handover;
mod instance;
mod leaf;
mod mappings;
mod memory;
mod ops;
mod page_range;
mod places;
mod probe;
// The guest's driver reads more statuses.
#[allow(dead_code)]
#[path = "../host/readings.rs"]
mod readings;
mod record;
mod sample;
// The guest's driver makes more calls.
#[allow(dead_code, unused_imports)]
#[path = "../host/simple_calls.rs"]
mod simple_calls;
mod statics;
mod switch;
mod transfer;

use kernel::{
    error::from_result,
    prelude::*,
    LocalModule, //
};

/// Prefix of the driver's messages.
const __LOG_PREFIX: &[u8] = driver::NAME.to_bytes_with_nul();

#[allow(unsafe_code)]
// SAFETY: All of this rests on the hypervisor's word; what is made of it, `readings` says.
// - The hypervisor takes a device out of its domain when it puts the device into another one, and
//   says when it does not: `places::put` believes nothing else. What may have been done all the
//   same is undone before an attach fails, by an attach to the domain before or by blocking. There
//   are no PASIDs.
// - `places::block` blocks a device by the domain that lets nothing through, or by its detachment;
//   `Endpoint::release` does that before it returns. Requester ids that other devices have stay in
//   the domain of those, which are in the device's group: the hypervisor cannot tell them apart.
// - There are no tables of the kernel's; the hypervisor is given memory of its own, which
//   `kernel::hyperv::memory` does not use any more. It is told what to map by `Domain::map` alone,
//   for a domain that is alive.
// - What the hypervisor has unmapped is in no cache when the call returns: so there is nothing to
//   be done in `flush_all`, nor for a gather. When the hypervisor has not unmapped all of what it
//   should, `Domain::close` blocks the domain's devices before `unmap` returns, and keeps others
//   out.
unsafe impl kernel::iommu::driver::SoundDriver for driver::RootIommu {}

/// Looks for the IOMMU and, when the partition has one, takes it into service.
///
/// Context: `rootfs_initcall`, after the IOMMU core; devices are there already, and not in use.
///
/// Returns 0, `-ENODEV` when there is none to serve (silently) or none that can be served (with a
/// message), or the error that prevented it.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub unsafe extern "C" fn hv_root_iommu_init() -> kernel::ffi::c_int {
    from_result(|| probe::probe().map(|()| 0))
}

/// Gives devices and domains back, for the kernel that may be started next.
///
/// Context: shutdown of the system's core, after that of all devices; may sleep. Not after a crash.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub unsafe extern "C" fn hv_root_iommu_shutdown() {
    if let Ok(instance) = instance::Instance::get() {
        handover::shut_down(instance);
    }
}
