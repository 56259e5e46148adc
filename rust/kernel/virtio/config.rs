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

/// The configuration space of one type of device.
///
/// # Safety
///
/// `Self` must be the layout of the configuration space of a device whose type is
/// [`DEVICE`](Self::DEVICE).
pub unsafe trait Layout {
    /// The type of device.
    const DEVICE: u32;
}

// SAFETY: By the UAPI header that is the layout of an IOMMU's configuration space.
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
    /// Any bytes must be a value.
    pub unsafe trait Sealed {}
}

macro_rules! fields {
    ($($number:ty),*) => {$(
        // SAFETY: Any bytes are an integer.
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

    /// Reads the field at `offset`, a constant. A device may lack fields at the end that belong to
    /// a feature which it has not: they are not to be read. The transport of PCI stops the kernel
    /// then.
    ///
    /// Context: may sleep.
    #[inline(always)]
    pub fn read<F: Field>(&self, offset: usize) -> F {
        build_assert!(offset + size_of::<F>() <= size_of::<L>());
        let mut value = F::ZERO;
        // SAFETY: The device is valid, and has a configuration space of that layout:
        // `Device::config` has compared its type with the layout's. The transport reads by the
        // device's own functions, at an offset within the layout. The value has room for as many
        // bytes as are read.
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
