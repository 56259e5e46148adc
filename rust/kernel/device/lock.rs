// SPDX-License-Identifier: GPL-2.0

//! The lock of a device, which is held while the device is probed, removed or reset.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use super::Device;
use crate::bindings;

/// Calls `f` with the device's lock held. Meanwhile no driver is bound to the device or unbound
/// from it, and the device is not reset.
///
/// Callbacks of a bus, or of the IOMMU core, may run with the lock held. They must not call this.
///
/// Context: may sleep.
///
/// # Examples
///
/// ```
/// use kernel::device::{
///     lock,
///     Device, //
/// };
///
/// /// Whether no driver is bound to the device while `check` looks at it.
/// fn is_idle(dev: &Device, check: impl FnOnce(&Device) -> bool) -> bool {
///     lock::with_locked(dev, || check(dev))
/// }
/// ```
pub fn with_locked<R>(dev: &Device, f: impl FnOnce() -> R) -> R {
    /// Unlocks the device when it is dropped.
    struct Unlock<'a>(&'a Device);

    impl Drop for Unlock<'_> {
        fn drop(&mut self) {
            // SAFETY: The device is valid, and `with_locked` has locked it.
            unsafe { bindings::device_unlock(self.0.as_raw()) };
        }
    }

    // SAFETY: The device is valid. By this function's rule, the caller does not hold the lock.
    unsafe { bindings::device_lock(dev.as_raw()) };
    let _unlock = Unlock(dev);
    f()
}
