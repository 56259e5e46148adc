// SPDX-License-Identifier: GPL-2.0

//! What iommufd's `IOMMU_GET_HW_INFO` tells user space about an IOMMU's hardware.
//!
//! C header: [`include/uapi/linux/iommufd.h`](srctree/include/uapi/linux/iommufd.h)

use crate::{
    alloc::KBox,
    bindings,
    ffi::c_void,
    prelude::*, //
};
use core::mem::size_of;
use zerocopy::{
    Immutable,
    IntoBytes, //
};

/// The kind of the information, which determines its layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HwInfoKind(pub(super) bindings::iommu_hw_info_type);

impl HwInfoKind {
    /// The kind that the driver has.
    pub const DEFAULT: HwInfoKind =
        HwInfoKind(bindings::iommu_hw_info_type::IOMMU_HW_INFO_TYPE_DEFAULT);
    /// Intel's VT-d.
    pub const INTEL_VTD: HwInfoKind =
        HwInfoKind(bindings::iommu_hw_info_type::IOMMU_HW_INFO_TYPE_INTEL_VTD);
    /// Arm's SMMUv3.
    pub const ARM_SMMUV3: HwInfoKind =
        HwInfoKind(bindings::iommu_hw_info_type::IOMMU_HW_INFO_TYPE_ARM_SMMUV3);

    /// A kind that has no name here, by its number in the UAPI.
    pub const fn from_raw(number: u32) -> HwInfoKind {
        HwInfoKind(bindings::iommu_hw_info_type(number))
    }
}

/// Information for user space.
///
/// # Examples
///
/// ```
/// use kernel::iommu::hw_info::{
///     HwInfo,
///     HwInfoKind, //
/// };
///
/// /// "mock" in ASCII: no IOMMU of the UAPI.
/// const KIND: HwInfoKind = HwInfoKind::from_raw(0x6d6f_636b);
///
/// /// What a driver answers that has one kind of information.
/// fn answer(asked: HwInfoKind, version: u32) -> Result<HwInfo> {
///     if asked != HwInfoKind::DEFAULT && asked != KIND {
///         return Err(EOPNOTSUPP);
///     }
///     HwInfo::new(KIND, [version, 0])
/// }
///
/// assert!(answer(HwInfoKind::DEFAULT, 1).is_ok());
/// assert!(answer(HwInfoKind::INTEL_VTD, 1).err() == Some(EOPNOTSUPP));
/// ```
pub struct HwInfo {
    kind: HwInfoKind,
    length: u32,
    data: *mut c_void,
    free: unsafe fn(*mut c_void),
}

impl HwInfo {
    /// Information of a kind. `data` must have the layout that the UAPI defines for the kind.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new<T: IntoBytes + Immutable>(kind: HwInfoKind, data: T) -> Result<HwInfo> {
        const { assert!(size_of::<T>() != 0 && size_of::<T>() <= u32::MAX as usize) };

        Ok(HwInfo {
            kind,
            length: size_of::<T>() as u32,
            data: KBox::into_raw(KBox::new(data, GFP_KERNEL)?).cast(),
            free: |data| {
                // SAFETY: `free` is called once, with the pointer from `KBox::into_raw` above.
                drop(unsafe { KBox::<T>::from_raw(data.cast()) })
            },
        })
    }

    pub(super) fn kind(&self) -> HwInfoKind {
        self.kind
    }

    /// The length of the data, in bytes.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// The data. The caller must free it as `kfree` does.
    pub(super) fn into_raw(self) -> *mut c_void {
        core::mem::ManuallyDrop::new(self).data
    }
}

impl Drop for HwInfo {
    fn drop(&mut self) {
        // SAFETY: The data was not given away, and `free` is the function for its type.
        unsafe { (self.free)(self.data) };
    }
}
