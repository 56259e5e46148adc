// SPDX-License-Identifier: GPL-2.0

//! Driver of the IOMMU that Hyper-V keeps for the partition that owns the machine's devices.
//!
//! The hypervisor keeps the page tables, in memory that the partition gives to it. The partition
//! tells it of each page by hypercall, and puts devices into domains. Data flows one way through
//! the modules:
//!
//! - [`device_domain`] and [`simple_calls`]: the hypercalls and their layouts, which are those of
//!   the C headers; [`simple_calls`] is shared with the guest's driver;
//! - [`page_range`], [`transfer`], [`leaf`], [`places`], [`capabilities`]: arithmetic and rules
//!   without kernel types, which are also tested outside the kernel;
//! - [`domain_name`]: the numbers of domains;
//! - [`calls`]: one function per hypercall, and [`memory`]: pages for the hypervisor;
//! - [`readings`]: how the driver reads undocumented statuses, shared with the guest's driver;
//! - [`switch`]: attaches and detaches devices, and reads the hypervisor's answers;
//! - [`sample`]: where things are in memory;
//! - [`mappings`], [`record`]: the driver's record of a domain, [`requesters`]: what it knows of
//!   sources of DMA, [`function`]: the PCI functions behind the IOMMU, and [`instance`]: the record
//!   of the one IOMMU, with [`put_error`], why it did not put a device into a domain;
//! - [`guide`]: how a reader of a crash dump finds these records;
//! - [`endpoint`]: a function, as the core moves it;
//! - [`domain`], [`statics`]: the domains;
//! - [`ops`]: what the IOMMU core calls;
//! - [`handover`]: gives everything back before another kernel takes over;
//! - [`probe`]: takes the IOMMU into service;
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
mod function;
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
mod put_error;
// The guest's driver reads more statuses.
#[allow(dead_code)]
#[path = "../host/readings.rs"]
mod readings;
mod record;
mod requesters;
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
// SAFETY: All of this assumes that the hypervisor does what it says. `readings` has the other
// assumptions.
// - An attach succeeds when the hypervisor says that the device is in the new domain, or twice that
//   there is no such device (`places::put`); or when the device is blocked because the core could
//   not handle a failure (`Endpoint::attach`). The hypervisor takes the device out of its former
//   domain in the same call, or the driver has it detached before. If the hypervisor refuses to
//   block the device, too, nothing else can be done than to switch off the device's bus mastering,
//   with a message. Before an attach fails, the driver undoes what the hypervisor may have done, by
//   an attach to the former domain or by blocking the device.
// - There are no PASIDs: the driver offers none.
// - The blocking domain lets no DMA through, nor does the hypervisor for a device that is detached
//   (`places::block`). `Endpoint::release` blocks a device in one of these ways before it returns.
//   Requester ids that other devices have stay in the domain of those. The hypervisor cannot tell
//   these devices apart, and they are in one group.
// - There are no tables of the kernel. The hypervisor gets memory of its own, which the kernel does
//   not use afterwards (`kernel::hyperv::memory`). `Domain::map` alone tells it what to map, for a
//   domain that is alive.
// - The hypervisor drops what it unmaps from all caches before the call returns, so neither
//   `flush_all` nor a gather has anything to do. If the hypervisor has not unmapped everything that
//   it should, `Domain::close` blocks the domain's devices before `unmap` returns, and lets no
//   other in. If the hypervisor refuses to block a device, too, `Instance::close` switches off the
//   device's bus mastering, until the device's driver switches it on. There is an emergency message
//   then, and each further unmap that fails tries again.
// - Only the core's callbacks about a device use its endpoint. `Instance::close` finds its function
//   in a list; `Endpoint::release` takes it out of the list before it returns.
// - There is no module: the driver is built in.
unsafe impl kernel::iommu::driver::SoundDriver for driver::RootIommu {}

/// Looks for the IOMMU and, when the partition has one, takes it into service.
///
/// Context: may sleep; `rootfs_initcall`, after the IOMMU core. Devices exist already, but nobody
/// uses them.
///
/// Returns 0. `-ENODEV` says that there is no IOMMU (silently), or none that the driver can serve
/// (with a message). Any other error kept the IOMMU from being taken into service (with a message).
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub unsafe extern "C" fn hv_root_iommu_init() -> kernel::ffi::c_int {
    from_result(|| probe::probe().map(|()| 0))
}

/// Gives devices, domains and memory back, for a kernel that may be started next.
///
/// Context: shutdown of the system's core, after that of all devices; may sleep. It does not run
/// after a crash.
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
