// SPDX-License-Identifier: GPL-2.0

//! What firmware says about the IOMMU of a device: `struct iommu_fwspec`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::registry;
use crate::{
    bindings,
    device,
    error::to_result,
    ffi::c_int,
    platform::owned::NewDevice,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::slice;

/// Notes that a device is behind the IOMMU whose parent is `iommu`, and that the IOMMU knows it by
/// `ids`. This is for code that describes devices, such as a reader of firmware tables or a test.
///
/// Context: may sleep. Not for a driver's callbacks.
///
/// # Errors
///
/// - [`ENODEV`]: `iommu` has no firmware node.
/// - [`EPROBE_DEFER`]: no IOMMU is registered for it yet.
/// - [`EINVAL`]: the device is behind another IOMMU.
/// - [`ENOMEM`].
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Device,
///     iommu::fwspec,
///     platform::owned::{
///         Id,
///         OwnedDevice, //
///     }, //
/// };
///
/// /// Makes a device which `iommu` knows by the number 7.
/// fn make(iommu: &Device) -> Result<OwnedDevice> {
///     OwnedDevice::new(c"my-device", Id::Only, &[], |device| {
///         fwspec::describe(device, iommu, &[7])
///     })
/// }
/// ```
#[inline(never)]
pub fn describe(device: &mut NewDevice<'_>, iommu: &device::Device, ids: &[u32]) -> Result {
    let dev = device.dev().as_raw();
    // SAFETY: The borrowed device is valid.
    let fwnode = unsafe { bindings::__dev_fwnode(iommu.as_raw()) };
    if fwnode.is_null() {
        return Err(ENODEV);
    }
    registry::locked(|| {
        // SAFETY: The device and the node are valid, and the function takes a reference to the
        // node. `locked` holds the core's lock.
        to_result(unsafe { bindings::iommu_fwspec_init(dev, fwnode) })?;
        // SAFETY: The device is valid. It was not added, so no driver has probed it, and nobody
        // else changes its description.
        unsafe { add_ids(dev, ids) }
    })
}

/// Adds ids to a device's description.
///
/// # Safety
///
/// `dev` must be valid. Nobody else may use its description meanwhile.
unsafe fn add_ids(dev: *mut bindings::device, ids: &[u32]) -> Result {
    let count = c_int::try_from(ids.len()).map_err(|_| EINVAL)?;
    // SAFETY: The device is valid. The function copies `count` ids, which the slice has. It may
    // move the description, which nobody else uses.
    to_result(unsafe { bindings::iommu_fwspec_add_ids(dev, ids.as_ptr(), count) })
}

/// The ids of a device's description.
///
/// # Safety
///
/// `dev` must be a device that the core probes, and be so for `'a`.
pub(super) unsafe fn ids_of<'a>(dev: *mut bindings::device) -> &'a [u32] {
    // SAFETY: The core has set `iommu` before it probes the device. Devices are described before
    // they are probed, so the description does not change. It has `num_ids` ids.
    unsafe {
        let fwspec = (*(*dev).iommu).fwspec;
        if fwspec.is_null() {
            return &[];
        }
        slice::from_raw_parts(
            (&raw const (*fwspec).ids).cast(),
            (*fwspec).num_ids as usize,
        )
    }
}

/// What firmware says about a device, while it is being read. It is borrowed for the length of a
/// callback.
///
/// # Invariants
///
/// The device is valid, and nobody else uses its description.
pub struct Description<'a> {
    dev: &'a device::Device,
    _not_sync: NotThreadSafe,
}

impl<'a> Description<'a> {
    /// # Safety
    ///
    /// `dev` must be valid for `'a`. Nobody else may use its description for `'a`.
    pub(super) unsafe fn from_raw(dev: *mut bindings::device) -> Description<'a> {
        // INVARIANT: The caller promises this.
        Description {
            // SAFETY: The caller promises that the device is valid for `'a`.
            dev: unsafe { device::Device::from_raw(dev) },
            _not_sync: NotThreadSafe,
        }
    }

    /// The device.
    pub fn dev(&self) -> &device::Device {
        self.dev
    }

    /// Adds ids by which the IOMMU knows the device.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline(never)]
    pub fn add_ids(&mut self, ids: &[u32]) -> Result {
        // SAFETY: By the type invariant.
        unsafe { add_ids(self.dev.as_raw(), ids) }
    }
}

/// An IOMMU that the firmware's description of a device refers to, with arguments.
#[repr(transparent)]
pub struct PhandleArgs(Opaque<bindings::of_phandle_args>);

impl PhandleArgs {
    /// # Safety
    ///
    /// `args` must be valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(args: *const bindings::of_phandle_args) -> &'a PhandleArgs {
        // SAFETY: The caller promises that `args` is valid for `'a`. The representation is
        // transparent.
        unsafe { &*args.cast() }
    }

    /// The arguments.
    pub fn args(&self) -> &[u32] {
        // SAFETY: The structure is valid, and nobody writes it while it is borrowed.
        let raw = unsafe { &*self.0.get() };
        let count = usize::try_from(raw.args_count).unwrap_or(0);
        raw.args.get(..count).unwrap_or(&raw.args)
    }
}
