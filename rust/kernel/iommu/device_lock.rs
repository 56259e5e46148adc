// SPDX-License-Identifier: GPL-2.0

//! The lock under which a device is probed, removed and reset.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use crate::{
    bindings,
    device, //
};

/// Calls `f` with the device's lock held: no driver is bound to the device or taken off it, and it is
/// not reset, meanwhile.
///
/// Not for callbacks of the IOMMU core: some are called with the lock held.
///
/// Context: may sleep.
pub fn with_device_locked<R>(dev: &device::Device, f: impl FnOnce() -> R) -> R {
    /// Unlocks, whichever way `f` ends.
    struct Unlock<'a>(&'a device::Device);

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
