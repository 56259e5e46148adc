// SPDX-License-Identifier: GPL-2.0

//! Platform devices that code makes, instead of firmware.
//!
//! C header: [`include/linux/platform_device.h`](srctree/include/linux/platform_device.h)

use crate::{
    bindings,
    device,
    error::to_result,
    ffi::c_int,
    prelude::*, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// How the devices of one name are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// There is only one.
    Only,
    /// By number, not above `INT_MAX`.
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
    /// Its name.
    pub name: &'a CStr,
    /// Its value.
    pub value: u32,
}

/// A platform device with a firmware node of its own, which is taken away when this is dropped.
///
/// # Invariants
///
/// `pdev` was added to the system, and was not unregistered.
///
/// # Examples
///
/// ```no_run
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
// SAFETY: Only its `struct device` can be reached, which threads may share.
unsafe impl Sync for OwnedDevice {}

impl OwnedDevice {
    /// Makes a device, and adds it to the system when `prepare` has done with it what is to be done
    /// before.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the number is too high. [`ENOMEM`]; [`EEXIST`]: there is such a device; the
    /// error of `prepare`.
    pub fn new(
        name: &CStr,
        id: Id,
        properties: &[Property<'_>],
        prepare: impl FnOnce(&device::Device) -> Result,
    ) -> Result<OwnedDevice> {
        // SAFETY: The function copies the name.
        let pdev = unsafe { bindings::platform_device_alloc(name.as_char_ptr(), id.as_raw()?) };
        let pdev = NonNull::new(pdev).ok_or(ENOMEM)?;
        let add = || -> Result {
            Self::describe(pdev, properties)?;
            // SAFETY: The device is initialised, and lives while it is prepared.
            prepare(unsafe { device::Device::from_raw(&raw mut (*pdev.as_ptr()).dev) })?;
            // SAFETY: The device was allocated above, and not added yet.
            to_result(unsafe { bindings::platform_device_add(pdev.as_ptr()) })
        };
        if let Err(error) = add() {
            // SAFETY: The reference is that of the allocation; the device was not added.
            unsafe { bindings::platform_device_put(pdev.as_ptr()) };
            return Err(error);
        }
        // INVARIANT: It was added.
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
        // The end of the list.
        entries.push(pin_init::zeroed(), GFP_KERNEL)?;
        // SAFETY: The device is initialised. The function copies the properties, whose end is
        // marked.
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
        // SAFETY: By the type invariant.
        unsafe { bindings::platform_device_unregister(self.pdev.as_ptr()) };
    }
}
