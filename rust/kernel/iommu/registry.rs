// SPDX-License-Identifier: GPL-2.0

//! Which IOMMUs there are: the core tells a driver of a device, not of the IOMMU that the device is
//! behind.
//!
//! The list is protected by the core's lock `iommu_probe_device_lock`, which the core holds while a
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

/// The place of an IOMMU in the list.
#[pin_data]
pub(super) struct Entry {
    /// Whose it is.
    driver: TypeId,
    /// What protects all else: the core's lock.
    links: Opaque<Links>,
    #[pin]
    _pin: PhantomPinned,
}

/// What changes of an entry.
struct Links {
    next: *const Entry,
    iommu: *mut bindings::iommu_device,
    /// Null when the IOMMU serves the devices that name none.
    fwnode: *const bindings::fwnode_handle,
}

// SAFETY: What changes is protected by the core's lock.
unsafe impl Sync for Entry {}
// SAFETY: An entry is not bound to a thread.
unsafe impl Send for Entry {}

/// The first entry.
struct Head(UnsafeCell<*const Entry>);

// SAFETY: It is protected by the core's lock.
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

    /// What tells drivers apart.
    pub(super) fn key<D: Driver>() -> TypeId {
        TypeId::of::<D>()
    }
}

/// Calls `f` while no device is probed.
///
/// Context: may sleep.
pub(super) fn locked<R>(f: impl FnOnce() -> R) -> R {
    lock();
    let result = f();
    unlock();
    result
}

// The lock is not exported to modules, into which generic code goes.
#[inline(never)]
fn lock() {
    // SAFETY: The mutex lives for ever.
    unsafe { bindings::mutex_lock(&raw mut bindings::iommu_probe_device_lock) };
}

#[inline(never)]
fn unlock() {
    // SAFETY: The mutex lives for ever; `lock` has taken it.
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
        // SAFETY: The parent is valid.
        unsafe { bindings::__dev_fwnode(parent) }.cast_const()
    };
    locked(|| {
        // SAFETY: The lock is held that protects the list and the entry's links.
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
    // SAFETY: By the caller's promise; the lock is held.
    locked(|| unsafe { remove_locked(entry) });
}

/// The same with the lock held.
///
/// # Safety
///
/// The entry must be in the list, and the caller be called by [`locked`].
#[inline(never)]
pub(super) unsafe fn remove_locked(entry: &Entry) {
    let mut place = HEAD.0.get();
    // SAFETY: The lock is held that protects the list, in which all entries are valid.
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

/// The IOMMU of the driver `key` that a device is behind by its firmware node.
///
/// # Safety
///
/// `dev` must be valid, and the core's lock held.
#[inline(never)]
pub(super) unsafe fn find(
    key: TypeId,
    dev: *mut bindings::device,
) -> Option<*mut bindings::iommu_device> {
    // SAFETY: The device is valid. While it is probed, the core has set its `iommu`, and nobody
    // changes its fwspec. The lock is held that protects the list, in which all entries are valid.
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
