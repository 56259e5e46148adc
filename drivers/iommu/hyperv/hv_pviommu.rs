// SPDX-License-Identifier: GPL-2.0

//! Driver of the IOMMU that Hyper-V offers its guests.
//!
//! The guest asks for the IOMMU by hypercall, builds stage-1 page tables itself, tells the
//! hypervisor their roots, and calls it only to attach devices and to flush.
//!
//! # The rooms
//!
//! Each directory is a room. A file uses files of its own room and of the rooms above it in this
//! list, and none below. `no_ring.rs` of the guest program's tests reads every file, and fails
//! where that does not hold.
//!
//! - [`driver`]: the driver as a type, and its name.
//! - [`host`]: what the host says and is told. [`host::layouts`] and `host::simple_calls` name the
//!   hypercalls and their layouts, which are those of the C header. [`host::blocks`] fills the
//!   inputs in, and [`host::calls`] has one function per hypercall. [`host::readings`] says how the
//!   driver reads undocumented statuses and states. [`host::offer`] keeps what the host's IOMMU can
//!   do. [`host::trace`] has the tracepoints, and [`host::message`] the log messages.
//! - [`known`]: the domains that the hypervisor knows. [`known::domains`] makes, numbers and
//!   deletes them; [`known::list`] lists the paging ones.
//! - [`device`]: a device behind the IOMMU. [`device::protocol`] has the order in which domains are
//!   closed, and devices attached and blocked. [`device::endpoint`] is a device, `device::entry`
//!   puts it into a domain, and [`device::block`] keeps it from doing DMA. [`device::list`] lists
//!   all devices, and [`device::arrival`] enters a new one. [`device::let_go`] remembers those that
//!   were released while the host still had them.
//! - [`instance`]: the one IOMMU, which holds all of the above.
//! - [`domain`]: what the core attaches devices to. [`domain::paging`] has the domains with a
//!   table, [`domain::statics`] the identity and the blocking domain, and `domain::flush` the
//!   hypercalls that flush.
//! - [`ops`]: what the IOMMU core calls.
//! - `sleep`: hibernation, which makes domains and attachments anew after the system has slept.
//! - [`show`]: what user space can read in sysfs and debugfs.
//! - [`probe`]: takes the IOMMU into service.
//! - `tests`: KUnit tests, and a file in debugfs for tests.
//!
//! Files without kernel types are also built and tested outside the kernel: [`host::aperture`],
//! [`host::capabilities`], [`host::translation`], [`device::protocol`] and [`domain::flush_range`].
//!
//! # The words
//!
//! - *Block* a device: keep it from doing DMA. The driver attaches it to the blocking domain. If
//!   that fails, the driver detaches it; if that fails too, it writes to the device's own
//!   registers.
//! - *Detach* a device: have the hypervisor take it out of its domain and put it into no other one.
//! - *Gone*: the host has taken the device away. *Replaced*: the device is gone, and the host has
//!   given its id to another device since.
//! - *Release* a device: the kernel lets go of the device. The driver blocks it first.
//! - *Stale*: a domain that the hypervisor could not be made to flush. The driver *gives it up*: no
//!   device may enter it, and its devices are blocked. When all of them are blocked, the domain is
//!   *emptied*.
//! - *Retired*: a number, or the domain of that number, which the kernel no longer uses but which
//!   the hypervisor may still know. The number is never used again.
//! - *Closed*: the whole IOMMU, at shutdown and while the system sleeps. Devices may enter the
//!   blocking domain only.
//! - *Whole* and *list*: the two kinds of flushes. One flushes all of a domain, the other a list of
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
    mod entry;
    pub(crate) mod let_go;
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
// - An attach succeeds only in these cases: the hypervisor says that the device is in the new
//   domain; both the hypervisor and the driver's record say that it was there before
//   (`entry::enter`); two calls say that the device is gone (`call_attach`); or the device stays
//   blocked (`Endpoint::attach`). The hypervisor takes the device out of its former domain in the
//   call that attaches it, or the driver has it detached before. When an attach fails, the device
//   is where it was, or the driver puts it back (`entry::enter`) or blocks it (`protocol::attach`).
//   `Devices::release` blocks a device before it returns.
// - There are no PASIDs: the driver offers none.
// - The blocking domain lets no DMA through, nor does the hypervisor for a device that is detached
//   (`block`).
// - `calls::configure` alone tells the hypervisor of a root. `Domains::make` calls it for the
//   domain whose table it is; `hibernation::resume` does for domains that are alive. `release` of a
//   domain lets its table be freed only after the domain was flushed and deleted, both with
//   success; else the table stays.
// - `flush_all` flushes the whole domain (`flush_whole`). If that fails, `Instance::give_up` blocks
//   the domain's devices before it returns, and lets no device in after that.
// - `flush` says that it has flushed only when the hypervisor has flushed the whole domain, or
//   blocks that cover the range (`flush_range`). Documentation/virt/hyperv/pviommu-assumptions.rst
//   has the assumption that a list flush drops entries that point at tables, too.
// - No domain maps by itself.
// - `Devices::release` takes the device out of the list, through which alone a failed flush finds
//   it. `Endpoint::release` leaves nothing for the work item to do to the device, and drops the
//   device's ATS. `State::new` makes the one `Ats` of a device.
// - `bus_master::stop` is called in callbacks of the core that change the device's translation, or
//   with the device's lock held (`Endpoint::run`).
// - There is no module: the driver is built in.
unsafe impl kernel::iommu::driver::SoundDriver for driver::PvIommu {}

/// Looks for the IOMMU and, when the host has one, takes it into service.
///
/// Context: may sleep; `rootfs_initcall`, after the IOMMU core and before any vPCI device.
///
/// Returns 0. `-ENODEV` says that there is no IOMMU (silently), or none that the driver can serve
/// (with a message). Any other error kept the IOMMU from being taken into service (with a message).
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
    // The driver works without these files, so a failure is only reported.
    if let Err(error) = made {
        pr_info!("no files in debugfs: errno {}\n", error.to_errno());
    }
}

/// Blocks all devices, and deletes all domains but the blocking one, for the kernel that may be
/// started next.
///
/// Context: shutdown of the system's core, after that of all devices; may sleep. It does not run
/// after a crash.
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
