// SPDX-License-Identifier: GPL-2.0

//! Driver of the IOMMU that Hyper-V offers its guests.
//!
//! The guest asks for the IOMMU by hypercall, builds stage-1 page tables itself, tells the
//! hypervisor their roots, and calls it only to attach devices and to flush. Data flows one way
//! through the modules:
//!
//! - [`device_domain`]: the hypercalls with their layouts, which are generated from the C header;
//! - [`capabilities`], [`aperture`], [`flush_range`], [`translation`]: arithmetic and rules without
//!   kernel types, which are tested outside the kernel, too;
//! - [`trace`]: what the tracepoints tell;
//! - [`calls`]: one function per hypercall;
//! - [`readings`]: what the driver takes undocumented statuses and states to mean;
//! - [`domain_ids`], [`instance`]: the state of the one IOMMU;
//! - [`protocol`]: in which order domains are closed, devices attached and devices blocked; it has no
//!   kernel types either, and is tried in all interleavings outside the kernel;
//! - [`endpoint`], [`block`]: a device behind it, and keeping it from doing DMA;
//! - [`paging`], [`statics`]: the domains;
//! - [`flush`]: the hypercalls that are made all the time;
//! - [`ops`]: what the IOMMU core calls;
//! - [`domain_list`]: the domains that exist;
//! - [`hibernation`]: giving all of that back to the hypervisor, and making it again;
//! - [`attributes`]: what user space can read in sysfs;
//! - [`flush_counters`], `debugfs`, `table_dump`: what debugfs shows.

#![deny(unsafe_code)]

mod aperture;
mod attributes;
mod block;
mod calls;
mod capabilities;
#[cfg(CONFIG_IOMMU_DEBUGFS)]
mod debugfs;
mod device_domain;
mod domain_ids;
#[cfg(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION))]
mod domain_list;
#[cfg(not(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION)))]
#[path = "domain_list_off.rs"]
mod domain_list;
#[cfg(all(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST, CONFIG_IOMMU_DEBUGFS))]
mod domain_list_kunit;
mod endpoint;
#[cfg(CONFIG_HIBERNATION)]
mod endpoint_sleep;
mod flush;
#[cfg(CONFIG_IOMMU_DEBUGFS)]
mod flush_counters;
#[cfg(not(CONFIG_IOMMU_DEBUGFS))]
#[path = "flush_counters_off.rs"]
mod flush_counters;
mod flush_range;
#[cfg(CONFIG_HIBERNATION)]
mod hibernation;
mod instance;
#[cfg(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST)]
mod kunit;
mod ops;
mod paging;
mod probe;
#[cfg(CONFIG_HYPERV_PVIOMMU_TEST_HOOKS)]
mod probe_again;
mod protocol;
mod readings;
#[cfg(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST)]
mod readings_kunit;
mod statics;
#[cfg(CONFIG_IOMMU_DEBUGFS)]
mod table_dump;
mod trace;
mod translation;

use kernel::{
    error::from_result,
    prelude::*,
    LocalModule, //
};

/// Prefix of the driver's messages.
const __LOG_PREFIX: &[u8] = b"hv_pviommu\0";

#[allow(unsafe_code)]
// SAFETY:
// - The hypervisor takes a device out of its domain when it puts the device into another one, and says
//   when it does not: `protocol::attach` believes nothing else. What is said of PASIDs holds, as there are
//   none.
// - A device is blocked by the blocking domain, or by its detachment (`block`); `release_endpoint` blocks
//   a device before it returns.
// - The hypervisor is told of a root by `calls::configure` alone: by `Instance::make_domain` for the
//   domain whose table it is, and by `hibernation::resume` for domains that are alive. When a domain's
//   `release` frees the table, its domain was flushed and deleted, both with success; else the table
//   stays.
// - `flush_whole` flushes a domain; when that fails, `Instance::give_up` blocks the domain's devices
//   before it returns, and keeps others out.
// - `flush_range` says that it has flushed when the hypervisor has flushed the blocks of a list, which
//   cover the range (`flush_range`), or the whole domain.
// - No domain maps by itself.
unsafe impl kernel::iommu::driver::SoundDriver for ops::PvIommu {}

/// Looks for the IOMMU and, when the host has one, takes it into service.
///
/// Context: `rootfs_initcall`, after the IOMMU core and before any vPCI device.
///
/// Returns 0, `-ENODEV` when there is none to serve (silently) or none that can be served (with a
/// message), or the error that prevented it.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub unsafe extern "C" fn hv_pviommu_init() -> kernel::ffi::c_int {
    from_result(|| probe::probe().map(|()| 0))
}

/// Leaves nothing to the kernel that may be started next.
///
/// Context: shutdown of the system's core, after that of all devices; may sleep. Not after a crash.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub unsafe extern "C" fn hv_pviommu_shutdown() {
    if let Ok(instance) = instance::Instance::get() {
        instance.shut_down();
    }
}
