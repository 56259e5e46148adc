// SPDX-License-Identifier: GPL-2.0

//! Functions that are on their bus.
//!
//! A reference to a [`Device`] keeps its memory, also after the function was removed from its bus.
//! It does not keep what the bus's registers are reached by: the data of the host bridge's driver,
//! and that driver's module. So code that reads or writes registers outside of a driver's callbacks
//! needs more than a reference.

use super::Device;
use crate::{
    device::Bound,
    sync::aref::ARef, //
};
use core::ops::Deref;

/// A function whose registers and bus may be used, for as long as this is borrowed.
///
/// # Safety
///
/// Whoever reaches the function's registers or its bus by a value must do so while the function is
/// on its bus.
pub unsafe trait Present {
    /// The function.
    fn function(&self) -> &Device;
}

// SAFETY: A function is removed from its bus after its driver was unbound, for which the removal
// waits. The type says that a driver is bound.
unsafe impl Present for Device<Bound> {
    #[inline]
    fn function(&self) -> &Device {
        self
    }
}

/// A function that is kept by somebody who learns of its removal, and does nothing with it after
/// that. This is for drivers of IOMMUs, whose work on a device is not bound to callbacks.
///
/// # Invariants
///
/// Nobody reaches the function's registers or its bus by this when the function is not on its bus.
/// At any time there is at most one [`Ats`](super::ats::Ats) that was made of this or of another
/// value for the same function.
///
/// # Examples
///
/// ```
/// use kernel::pci::{
///     bus_master,
///     present::PresentDevice, //
/// };
///
/// /// A function that an IOMMU could not be made to block.
/// struct Loose {
///     function: PresentDevice,
/// }
///
/// impl Loose {
///     fn stop(&self) {
///         bus_master::stop(&self.function);
///     }
/// }
/// ```
#[derive(Clone)]
pub struct PresentDevice(ARef<Device>);

impl PresentDevice {
    /// Vouches for a function.
    ///
    /// # Safety
    ///
    /// Whoever gets the result must not reach the function's registers or its bus by it when the
    /// function is not on its bus. No [`Ats`](super::ats::Ats) may be made of it while there is one
    /// of the same function. [`bus_master::stop`](super::bus_master::stop) must be called with the
    /// changes of the function's translation serialised, or with its device lock held.
    pub unsafe fn new(function: &Device) -> PresentDevice {
        // INVARIANT: The caller promises this.
        PresentDevice(function.into())
    }
}

// SAFETY: By the type invariant.
unsafe impl Present for PresentDevice {
    #[inline]
    fn function(&self) -> &Device {
        &self.0
    }
}

impl Deref for PresentDevice {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        &self.0
    }
}
