// SPDX-License-Identifier: GPL-2.0

//! What firmware says of a device's IOMMU: `struct iommu_fwspec`.
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

/// Says that a device is behind the IOMMU whose parent is `iommu`, before the device is added to
/// the system. That is for those who describe devices: firmware's readers, and tests.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENODEV`]: `iommu` has no firmware node. [`EPROBE_DEFER`]: no IOMMU is registered for it yet.
/// [`EINVAL`]: the device is behind another one. [`ENOMEM`].
#[inline(never)]
pub fn init(dev: &device::Device, iommu: &device::Device) -> Result {
    // SAFETY: The device is valid.
    let fwnode = unsafe { bindings::__dev_fwnode(iommu.as_raw()) };
    if fwnode.is_null() {
        return Err(ENODEV);
    }
    // SAFETY: Both are valid; the function takes a reference to the node. The core's lock is held.
    registry::locked(|| to_result(unsafe { bindings::iommu_fwspec_init(dev.as_raw(), fwnode) }))
}

/// Adds ids to those by which the IOMMU knows the device.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`]: the device is behind no IOMMU by [`init`]. [`ENOMEM`].
#[inline(never)]
pub fn add_ids(dev: &device::Device, ids: &[u32]) -> Result {
    let count = c_int::try_from(ids.len()).map_err(|_| EINVAL)?;
    // SAFETY: The device is valid, and so are the ids, which the function copies.
    to_result(unsafe { bindings::iommu_fwspec_add_ids(dev.as_raw(), ids.as_ptr(), count) })
}

/// The ids by which the IOMMU knows the device.
///
/// To be called in the callbacks of a driver that has probed the device, or probes it: then they do
/// not change.
pub fn ids(dev: &device::Device) -> &[u32] {
    // SAFETY: The device is valid. Its fwspec, if it has one, is made before the device is probed,
    // and freed after it was released.
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

/// A reference of the firmware's description to an IOMMU, with arguments.
#[repr(transparent)]
pub struct PhandleArgs(Opaque<bindings::of_phandle_args>);

impl PhandleArgs {
    /// # Safety
    ///
    /// `args` must be valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(args: *const bindings::of_phandle_args) -> &'a PhandleArgs {
        // SAFETY: By the caller's promise; the representation is transparent.
        unsafe { &*args.cast() }
    }

    /// The arguments.
    pub fn args(&self) -> &[u32] {
        // SAFETY: By the type the structure is valid, and not written meanwhile.
        let raw = unsafe { &*self.0.get() };
        let count = usize::try_from(raw.args_count).unwrap_or(0);
        raw.args.get(..count).unwrap_or(&raw.args)
    }
}
