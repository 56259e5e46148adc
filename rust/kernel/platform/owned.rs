// SPDX-License-Identifier: GPL-2.0

//! Platform devices that code creates, instead of firmware.
//!
//! # Lifetimes, locks, unloading
//!
//! - An [`OwnedDevice`] has the one reference that keeps the device in the system, and lends the
//!   device for as long as it lives. Others who have got a reference meanwhile keep the memory, and
//!   nothing else. What frees the memory is code of the kernel itself.
//! - [`OwnedDevice::new`] adds the device, and the drop removes it. Both take the lock of the
//!   device, and call what listens to the bus: drivers, and the IOMMU core with its own lock. So
//!   neither may be done with one of these locks held, nor in a callback that has one.
//! - `prepare` runs before the device is added, with no lock held. Nobody else has the device then,
//!   which [`NewDevice`] stands for.
//! - The drop returns when the device's driver is unbound, and its IOMMU's driver has released it.
//! - The firmware node belongs to the device, and goes with it. The properties and their names are
//!   copied.
//! - A module drops its devices before it is unloaded. A device that is never dropped stays for
//!   ever, which is a leak and no more: it holds no pointer to code of the module.
//!
//! C header: [`include/linux/platform_device.h`](srctree/include/linux/platform_device.h)

use crate::{
    bindings,
    device,
    error::to_result,
    ffi::c_int,
    prelude::*,
    types::NotThreadSafe, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// How devices of the same name are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// There is only one such device.
    Only,
    /// Each has a number, `INT_MAX` at most.
    Number(u32),
}

impl Id {
    fn as_raw(self) -> Result<c_int> {
        match self {
            Id::Only => Ok(bindings::PLATFORM_DEVID_NONE),
            Id::Number(number) => c_int::try_from(number).map_err(|_| EINVAL),
        }
    }
}

/// A property of a device, as firmware would describe it.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    /// The property's name.
    pub name: &'a CStr,
    /// The property's value.
    pub value: u32,
}

/// A device that was not added to the system yet, so that nobody else has it. It is borrowed while
/// it is set up.
///
/// # Invariants
///
/// The device is valid, and was not added.
pub struct NewDevice<'a> {
    dev: &'a device::Device,
    _not_sync: NotThreadSafe,
}

impl NewDevice<'_> {
    /// The device.
    pub fn dev(&self) -> &device::Device {
        self.dev
    }
}

/// A platform device with a firmware node of its own. Dropping it removes the device.
///
/// # Invariants
///
/// `pdev` was added to the system, and was not unregistered.
///
/// # Examples
///
/// ```
/// use kernel::platform::owned::{
///     Id,
///     OwnedDevice,
///     Property, //
/// };
///
/// let width = Property {
///     name: c"width",
///     value: 4,
/// };
/// let device = OwnedDevice::new(c"example", Id::Number(0), &[width], |_| Ok(()))?;
/// dev_info!(device.dev(), "is there\n");
/// # Ok::<(), Error>(())
/// ```
pub struct OwnedDevice {
    pdev: NonNull<bindings::platform_device>,
}

// SAFETY: A platform device is not bound to a thread.
unsafe impl Send for OwnedDevice {}
// SAFETY: A shared reference gives access to the `struct device` only, which threads may share.
unsafe impl Sync for OwnedDevice {}

impl OwnedDevice {
    /// Creates a device, lets `prepare` set it up, and adds it to the system.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the number is too high. [`EEXIST`]: there is such a device already. [`ENOMEM`],
    /// or the error of `prepare`.
    pub fn new(
        name: &CStr,
        id: Id,
        properties: &[Property<'_>],
        prepare: impl FnOnce(&mut NewDevice<'_>) -> Result,
    ) -> Result<OwnedDevice> {
        // SAFETY: The name is a C string, which the function copies.
        let pdev = unsafe { bindings::platform_device_alloc(name.as_char_ptr(), id.as_raw()?) };
        let pdev = NonNull::new(pdev).ok_or(ENOMEM)?;
        let add = || -> Result {
            Self::describe(pdev, properties)?;
            // INVARIANT: The device was allocated above, and is added below.
            prepare(&mut NewDevice {
                // SAFETY: The device is initialised, and lives longer than the call.
                dev: unsafe { device::Device::from_raw(&raw mut (*pdev.as_ptr()).dev) },
                _not_sync: NotThreadSafe,
            })?;
            // SAFETY: The device was allocated above, and was not added yet.
            to_result(unsafe { bindings::platform_device_add(pdev.as_ptr()) })
        };
        if let Err(error) = add() {
            // SAFETY: This drops the reference from the allocation. The device was not added.
            unsafe { bindings::platform_device_put(pdev.as_ptr()) };
            return Err(error);
        }
        // INVARIANT: The device was added above.
        Ok(OwnedDevice { pdev })
    }

    /// Gives the device a firmware node.
    fn describe(pdev: NonNull<bindings::platform_device>, properties: &[Property<'_>]) -> Result {
        let mut entries = KVec::with_capacity(properties.len() + 1, GFP_KERNEL)?;
        for property in properties {
            let mut entry = bindings::property_entry {
                name: property.name.as_char_ptr(),
                length: core::mem::size_of::<u32>(),
                is_inline: true,
                type_: bindings::dev_prop_type_DEV_PROP_U32,
                ..pin_init::zeroed()
            };
            entry.__bindgen_anon_1.value.u32_data = [property.value, 0];
            entries.push(entry, GFP_KERNEL)?;
        }
        // An empty entry ends the list.
        entries.push(pin_init::zeroed(), GFP_KERNEL)?;
        // SAFETY: The device is initialised. The function copies the properties, up to the empty
        // entry.
        to_result(unsafe {
            bindings::device_create_managed_software_node(
                &raw mut (*pdev.as_ptr()).dev,
                entries.as_ptr(),
                ptr::null(),
            )
        })
    }

    /// The device.
    pub fn dev(&self) -> &device::Device {
        // SAFETY: By the type invariant the device is valid as long as `self` lives.
        unsafe { device::Device::from_raw(&raw mut (*self.pdev.as_ptr()).dev) }
    }
}

impl Drop for OwnedDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the device was added, and was not unregistered yet.
        unsafe { bindings::platform_device_unregister(self.pdev.as_ptr()) };
    }
}
