// SPDX-License-Identifier: GPL-2.0

//! Driver of the IOMMU that Hyper-V offers its guests.
//!
//! The guest asks for the IOMMU by hypercall, builds stage-1 page tables itself, tells the
//! hypervisor their roots, and calls it only to attach devices and to flush.
//!
//! # The rooms
//!
//! Each directory is a room. A file uses files of its own room and of the rooms before it in this
//! list, never the other way round; a test on the host sees to that.
//!
//! - [`driver`]: the driver as a type, and its name;
//! - [`host`]: what the host says and is told. [`host::layouts`] and `host::simple_calls`: the
//!   hypercalls with their layouts, which are generated from the C header; [`host::blocks`]: these
//!   filled in; [`host::calls`]: one function per hypercall; [`host::readings`]: what the driver
//!   takes undocumented statuses and states to mean; [`host::offer`]: what the host's IOMMU can do;
//!   [`host::trace`]: what the tracepoints tell; [`host::message`]: what the log does;
//! - [`known`]: the domains that the hypervisor knows: their numbers and life ([`known::domains`]),
//!   and the paging ones, one by one ([`known::list`]);
//! - [`device`]: a device behind the IOMMU. [`device::protocol`]: in which order domains are
//!   closed, devices attached and devices blocked; [`device::endpoint`], [`device::block`]: a
//!   device, and keeping it from doing DMA; [`device::list`], [`device::arrival`]: all of them, and
//!   a new one;
//! - [`instance`]: the one IOMMU, which holds all of that;
//! - [`domain`]: what the core attaches devices to. [`domain::paging`]: domains with a table;
//!   [`domain::flush`]: the hypercalls that are made all the time; [`domain::statics`]: the two
//!   others;
//! - [`ops`]: what the IOMMU core calls;
//! - `sleep`: hibernation, which gives all of that back to the hypervisor and makes it again;
//! - [`show`]: what user space can read in sysfs and debugfs;
//! - [`probe`]: taking the IOMMU into service;
//! - `tests`: KUnit, and a file in debugfs for tests.
//!
//! Files without kernel types are also built and tested outside the kernel: [`host::aperture`],
//! [`host::capabilities`], [`host::translation`], [`device::protocol`] and [`domain::flush_range`].
//!
//! # The words
//!
//! - *Block* a device: keep it from doing DMA, by the blocking domain, else by detaching it, else
//!   by the device's own registers.
//! - *Detach* a device: have the hypervisor take it out of its domain and put it into no other one.
//! - *Gone*: the host has taken the device away. *Replaced*: gone, and another device has the id
//!   since.
//! - *Release* a device: the kernel lets go of it. It is blocked first.
//! - *Stale*: a domain that the hypervisor could not be made to flush. It is *given up*: no device
//!   enters it any more, and its devices are blocked. When all of them are, it is *emptied*.
//! - *Retired*: a number, or the domain that has it, that the kernel has done with and the
//!   hypervisor may know for ever. It is never used again.
//! - *Closed*: the whole IOMMU, at shutdown and while the system sleeps. No device enters any
//!   domain but the blocking one.
//! - *Whole* and *list*: the two kinds of flushes, of all of a domain and of a list of
//!   *descriptors*. A descriptor names a power of two of pages at a multiple of its size.

#![deny(unsafe_code)]

mod driver;

mod host {
    pub(crate) mod aperture;
    pub(crate) mod blocks;
    pub(crate) mod calls;
    pub(crate) mod capabilities;
    pub(crate) mod domain_ids;
    pub(crate) mod layouts;
    pub(crate) mod list_flush;
    pub(crate) mod message;
    pub(crate) mod offer;
    pub(crate) mod readings;
    mod simple_calls;
    pub(crate) mod trace;
    pub(crate) mod translation;
}

mod known {
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) mod counters;
    #[cfg(not(CONFIG_IOMMU_DEBUGFS))]
    #[path = "counters_off.rs"]
    pub(crate) mod counters;
    pub(crate) mod domains;
    #[cfg(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION))]
    pub(crate) mod list;
    #[cfg(not(any(CONFIG_IOMMU_DEBUGFS, CONFIG_HIBERNATION)))]
    #[path = "list_off.rs"]
    pub(crate) mod list;
    mod refused;
}

mod device {
    pub(crate) mod arrival;
    pub(crate) mod block;
    pub(crate) mod endpoint;
    pub(crate) mod list;
    pub(crate) mod protocol;
    pub(crate) mod serial;
    pub(crate) mod state;
}

mod instance;

mod domain {
    mod flush;
    pub(crate) mod flush_range;
    pub(crate) mod paging;
    pub(crate) mod state;
    pub(crate) mod statics;
}

mod ops;

#[cfg(CONFIG_HIBERNATION)]
mod sleep {
    mod again;
    mod endpoint;
    mod hibernation;
    pub(crate) mod passage;
}

mod show {
    pub(crate) mod attributes;
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) mod debugfs;
}

mod probe;

mod tests {
    #[cfg(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST)]
    mod interface;
    #[cfg(all(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST, CONFIG_IOMMU_DEBUGFS))]
    mod list;
    #[cfg(CONFIG_HYPERV_PVIOMMU_TEST_HOOKS)]
    pub(crate) mod probe_again;
    #[cfg(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST)]
    mod readings;
}

use kernel::{
    error::from_result,
    prelude::*,
    LocalModule, //
};

/// Prefix of the driver's messages.
const __LOG_PREFIX: &[u8] = driver::NAME.to_bytes_with_nul();

#[allow(unsafe_code)]
// SAFETY:
// - The hypervisor takes a device out of its domain when it puts the device into another one, and
//   says when it does not: `protocol::attach` believes nothing else. What is said of PASIDs holds,
//   as there are none.
// - A device is blocked by the blocking domain, or by its detachment (`block`); `Devices::release`
//   blocks a device before it returns.
// - The hypervisor is told of a root by `calls::configure` alone: by `Domains::make` for the domain
//   whose table it is, and by `hibernation::resume` for domains that are alive. When a domain's
//   `release` frees the table, its domain was flushed and deleted, both with success; else the
//   table stays.
// - `flush_whole` flushes a domain; when that fails, `Instance::give_up` blocks the domain's
//   devices before it returns, and keeps others out.
// - `flush_range` says that it has flushed when the hypervisor has flushed the blocks of a list,
//   which cover the range (`flush_range`), or the whole domain.
// - No domain maps by itself.
unsafe impl kernel::iommu::driver::SoundDriver for driver::PvIommu {}

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
    from_result(|| {
        probe::probe()?;
        #[cfg(CONFIG_IOMMU_DEBUGFS)]
        publish();
        Ok(0)
    })
}

/// Makes the files in debugfs.
#[cfg(CONFIG_IOMMU_DEBUGFS)]
fn publish() {
    let dir = kernel::iommu::debugfs::dir(driver::NAME);
    let made = show::debugfs::publish(&dir);
    #[cfg(CONFIG_HYPERV_PVIOMMU_TEST_HOOKS)]
    let made = made.and_then(|()| tests::probe_again::publish(&dir));
    // As everybody who uses debugfs: when it cannot be had, things work as well without.
    if let Err(error) = made {
        pr_info!("no files in debugfs: errno {}\n", error.to_errno());
    }
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
