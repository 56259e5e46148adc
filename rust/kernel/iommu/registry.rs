// SPDX-License-Identifier: GPL-2.0

//! The list of all IOMMUs of drivers in Rust. When the core probes a device, it does not say which
//! IOMMU the device is behind; the driver finds the IOMMU in this list.
//!
//! The core's lock `iommu_probe_device_lock` protects the list. The core holds that lock while a
//! driver probes a device.

use super::driver::Driver;
use crate::{
    bindings,
    prelude::*,
    types::Opaque, //
};
use core::{
    any::TypeId,
    cell::UnsafeCell,
    marker::PhantomPinned,
    ptr, //
};

/// An IOMMU in the list.
#[pin_data]
pub(super) struct Entry {
    /// The driver of the IOMMU.
    driver: TypeId,
    /// The core's lock protects the links.
    links: Opaque<Links>,
    #[pin]
    _pin: PhantomPinned,
}

/// The part of an entry that changes.
struct Links {
    next: *const Entry,
    iommu: *mut bindings::iommu_device,
    /// The firmware node of the IOMMU; null if it serves the devices that name no IOMMU.
    fwnode: *const bindings::fwnode_handle,
}

// SAFETY: The core's lock protects the links, and nothing else of an entry changes.
unsafe impl Sync for Entry {}
// SAFETY: An entry is not bound to a thread.
unsafe impl Send for Entry {}

/// The first entry.
struct Head(UnsafeCell<*const Entry>);

// SAFETY: The core's lock protects the pointer.
unsafe impl Sync for Head {}

static HEAD: Head = Head(UnsafeCell::new(ptr::null()));

impl Entry {
    /// An entry that is in no list.
    pub(super) fn new<D: Driver>() -> impl PinInit<Entry> {
        pin_init!(Entry {
            driver: Entry::key::<D>(),
            links: Opaque::new(Links {
                next: ptr::null(),
                iommu: ptr::null_mut(),
                fwnode: ptr::null(),
            }),
            _pin: PhantomPinned,
        })
    }

    /// A number that tells drivers apart.
    pub(super) fn key<D: Driver>() -> TypeId {
        TypeId::of::<D>()
    }
}

/// Calls `f` with the core's lock held, so that no device is probed meanwhile.
///
/// Context: may sleep.
pub(super) fn locked<R>(f: impl FnOnce() -> R) -> R {
    lock();
    let result = f();
    unlock();
    result
}

// Not inlined: generic code is built into modules, and the lock is not exported to them.
#[inline(never)]
fn lock() {
    // SAFETY: The mutex is a static, initialised by its definition.
    unsafe { bindings::mutex_lock(&raw mut bindings::iommu_probe_device_lock) };
}

#[inline(never)]
fn unlock() {
    // SAFETY: The mutex is a static, and `lock` has locked it.
    unsafe { bindings::mutex_unlock(&raw mut bindings::iommu_probe_device_lock) };
}

/// Adds an IOMMU.
///
/// Context: may sleep.
///
/// # Safety
///
/// The entry must be in no list, and stay valid until it is removed. `parent` must be valid or
/// null.
#[inline(never)]
pub(super) unsafe fn add(
    entry: &Entry,
    iommu: *mut bindings::iommu_device,
    parent: *mut bindings::device,
) {
    let fwnode = if parent.is_null() {
        ptr::null()
    } else {
        // SAFETY: The caller promises that the parent is valid.
        unsafe { bindings::__dev_fwnode(parent) }.cast_const()
    };
    locked(|| {
        // SAFETY: The lock is held, which protects the list and the entry's links. The caller
        // promises that the entry stays valid as long as it is in the list.
        unsafe {
            *entry.links.get() = Links {
                next: *HEAD.0.get(),
                iommu,
                fwnode,
            };
            *HEAD.0.get() = entry;
        }
    });
}

/// Removes an IOMMU.
///
/// Context: may sleep.
///
/// # Safety
///
/// The entry must be in the list.
#[inline(never)]
pub(super) unsafe fn remove(entry: &Entry) {
    // SAFETY: The caller promises that the entry is in the list. `locked` holds the lock.
    locked(|| unsafe { remove_locked(entry) });
}

/// Removes an IOMMU, with the lock held.
///
/// # Safety
///
/// The entry must be in the list, and [`locked`] must have called the caller.
#[inline(never)]
pub(super) unsafe fn remove_locked(entry: &Entry) {
    let mut place = HEAD.0.get();
    // SAFETY: The lock is held, which protects the list. All entries of the list are valid.
    unsafe {
        while !(*place).is_null() {
            let links = (**place).links.get();
            if ptr::eq(*place, entry) {
                *place = (*links).next;
                return;
            }
            place = &raw mut (*links).next;
        }
    }
}

/// Finds the IOMMU of the driver `key` that a device is behind, by the firmware node that the
/// device names.
///
/// # Safety
///
/// `dev` must be valid and be probed by the core, which holds its lock.
#[inline(never)]
pub(super) unsafe fn find(
    key: TypeId,
    dev: *mut bindings::device,
) -> Option<*mut bindings::iommu_device> {
    // SAFETY: The device is valid. The core has set its `iommu` before it probes it, and nobody
    // changes its fwspec meanwhile. The lock is held, which protects the list, and all entries of
    // the list are valid.
    unsafe {
        let fwspec = (*(*dev).iommu).fwspec;
        let wanted = if fwspec.is_null() {
            ptr::null()
        } else {
            (*fwspec).iommu_fwnode.cast_const()
        };
        let mut entry = *HEAD.0.get();
        while !entry.is_null() {
            let links = (*entry).links.get();
            if (*entry).driver == key && (*links).fwnode == wanted {
                return Some((*links).iommu);
            }
            entry = (*links).next;
        }
    }
    None
}
