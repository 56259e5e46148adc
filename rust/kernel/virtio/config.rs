// SPDX-License-Identifier: GPL-2.0

//! A device's configuration space.

use super::device::Device;
use crate::{
    bindings,
    device,
    prelude::*,
    uapi, //
};
use core::marker::PhantomData;

/// The layout of the configuration space of one type of device.
///
/// # Safety
///
/// `Self` must be the layout of the configuration space of devices of the type
/// [`DEVICE`](Self::DEVICE).
pub unsafe trait Layout {
    /// The number of the device's type.
    const DEVICE: u32;
}

// SAFETY: The UAPI header says that this is the layout of an IOMMU's configuration space.
unsafe impl Layout for uapi::virtio_iommu_config {
    const DEVICE: u32 = bindings::VIRTIO_ID_IOMMU;
}

/// A number in a configuration space.
pub trait Field: private::Sealed + Copy {
    #[doc(hidden)]
    const ZERO: Self;
    #[doc(hidden)]
    fn as_little_endian(self) -> Self;
}

mod private {
    /// # Safety
    ///
    /// Any bytes must be a valid value.
    pub unsafe trait Sealed {}
}

macro_rules! fields {
    ($($number:ty),*) => {$(
        // SAFETY: Any bytes are a valid integer.
        unsafe impl private::Sealed for $number {}

        impl Field for $number {
            const ZERO: $number = 0;

            fn as_little_endian(self) -> $number {
                <$number>::from_le(self)
            }
        }
    )*};
}

fields!(u8, u16, u32, u64);

/// The configuration space of a device.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Bound,
///     uapi::virtio_iommu_config,
///     virtio::Device, //
/// };
/// use core::mem::offset_of;
///
/// /// The page sizes that an IOMMU takes, bit n for 2^n bytes.
/// fn page_sizes(device: &Device<Bound>) -> Result<u64> {
///     let config = device.config::<virtio_iommu_config>()?;
///     Ok(config.read(offset_of!(virtio_iommu_config, page_size_mask)))
/// }
/// ```
pub struct Config<'a, L: Layout> {
    device: &'a Device<device::Bound>,
    _layout: PhantomData<L>,
}

impl<'a, L: Layout> Config<'a, L> {
    pub(super) fn new(device: &'a Device<device::Bound>) -> Config<'a, L> {
        Config {
            device,
            _layout: PhantomData,
        }
    }

    /// Reads the field at `offset`, which must be a constant. A device may lack fields at the end,
    /// which belong to features that it does not have. The driver must not read them: the PCI
    /// transport would stop the kernel.
    ///
    /// Context: may sleep.
    #[inline(always)]
    pub fn read<F: Field>(&self, offset: usize) -> F {
        build_assert!(offset + size_of::<F>() <= size_of::<L>());
        let mut value = F::ZERO;
        // SAFETY: The device is valid. Its configuration space has this layout, as `Device::config`
        // has compared the types. The transport reads by the device's own functions, at an offset
        // within the layout. `value` has room for as many bytes as are read.
        unsafe {
            bindings::virtio_read_config(
                self.device.as_raw(),
                offset as u32,
                (&raw mut value).cast(),
                size_of::<F>(),
            )
        };
        value.as_little_endian()
    }
}
