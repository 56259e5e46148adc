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
    prelude::*,
    types::Opaque, //
};
use core::slice;

/// Notes that a device is behind the IOMMU whose parent is `iommu`. This is for code that describes
/// devices, such as a reader of firmware tables or a test. It must be called before the device is
/// added to the system.
///
/// Context: may sleep.
///
/// # Errors
///
/// - [`ENODEV`]: `iommu` has no firmware node.
/// - [`EPROBE_DEFER`]: no IOMMU is registered for it yet.
/// - [`EINVAL`]: the device is behind another IOMMU.
/// - [`ENOMEM`].
#[inline(never)]
pub fn init(dev: &device::Device, iommu: &device::Device) -> Result {
    // SAFETY: The borrowed device is valid.
    let fwnode = unsafe { bindings::__dev_fwnode(iommu.as_raw()) };
    if fwnode.is_null() {
        return Err(ENODEV);
    }
    // SAFETY: The device and the node are valid, and the function takes a reference to the node.
    // `locked` holds the core's lock.
    registry::locked(|| to_result(unsafe { bindings::iommu_fwspec_init(dev.as_raw(), fwnode) }))
}

/// Adds ids by which the IOMMU knows the device.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`]: [`init`] was not called for the device. [`ENOMEM`].
#[inline(never)]
pub fn add_ids(dev: &device::Device, ids: &[u32]) -> Result {
    let count = c_int::try_from(ids.len()).map_err(|_| EINVAL)?;
    // SAFETY: The device is valid. The function copies `count` ids, which the slice has.
    to_result(unsafe { bindings::iommu_fwspec_add_ids(dev.as_raw(), ids.as_ptr(), count) })
}

/// The ids by which the IOMMU knows the device.
///
/// Only for callbacks of a driver that probes the device, or has probed it. The ids do not change
/// then.
pub fn ids(dev: &device::Device) -> &[u32] {
    // SAFETY: The device is valid. Its fwspec, if it has one, was made before the device was
    // probed, lives until after it is released, and has `num_ids` ids.
    unsafe {
        let iommu = (*dev.as_raw()).iommu;
        if iommu.is_null() || (*iommu).fwspec.is_null() {
            return &[];
        }
        let fwspec = (*iommu).fwspec;
        slice::from_raw_parts(
            (&raw const (*fwspec).ids).cast(),
            (*fwspec).num_ids as usize,
        )
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
