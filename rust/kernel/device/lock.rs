// SPDX-License-Identifier: GPL-2.0

//! The lock under which a device is probed, removed and reset.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use super::Device;
use crate::bindings;

/// Calls `f` with the device's lock held: no driver is bound to the device or taken off it, and it
/// is not reset, meanwhile.
///
/// Not for callbacks that may be called with the lock held, as those of a bus or of the IOMMU core.
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
    /// Unlocks, whichever way `f` ends.
    struct Unlock<'a>(&'a Device);

    impl Drop for Unlock<'_> {
        fn drop(&mut self) {
            // SAFETY: The device is valid, and locked below.
            unsafe { bindings::device_unlock(self.0.as_raw()) };
        }
    }

    // SAFETY: The device is valid.
    unsafe { bindings::device_lock(dev.as_raw()) };
    let _unlock = Unlock(dev);
    f()
}
