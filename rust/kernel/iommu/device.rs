// SPDX-License-Identifier: GPL-2.0

//! IOMMUs: `struct iommu_device`.
//!
//! A [`Registration`] gives one IOMMU to the core, and takes it back when it is dropped. It cannot
//! take the IOMMU back while a device is behind it: the core holds pointers to both, and users of
//! the device may have mapped memory. So a registration that is dropped too early stays in force
//! for ever, with its data and with the driver's module. Only the failure of a module's `init`
//! frees the module all the same; [`SoundDriver`] has an obligation for that.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    attribute::Attributes,
    driver::{
        Driver,
        SoundDriver, //
    },
    ops::Ops,
    registry::{
        self,
        Entry, //
    }, //
};
use crate::{
    bindings,
    container_of,
    device,
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::{
                Acquire,
                Relaxed,
                Release, //
            },
            Atomic, //
        }, //
    },
    types::Opaque, //
};
use core::{
    mem::ManuallyDrop,
    ptr, //
};

/// What the core is told about an IOMMU.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The IOMMU's name in `/sys/class/iommu`.
    pub name: &'a CStr,
    /// The device that is the IOMMU, if there is one. Devices that name its firmware node are
    /// behind the IOMMU. Without a parent, devices that name no IOMMU are behind it.
    pub parent: Option<&'a device::Device>,
    /// The attributes that user space can read.
    pub attributes: Option<Attributes>,
    /// How many PASIDs a device can have; 0 if the IOMMU has none.
    pub max_pasids: u32,
}

/// One IOMMU.
#[pin_data]
struct Instance<D: Driver> {
    #[pin]
    raw: Opaque<bindings::iommu_device>,
    #[pin]
    entry: Entry,
    /// How many devices were probed and not released.
    devices: Atomic<usize>,
    /// Keeps the firmware node of the parent alive, which the registration refers to.
    _parent: Option<ARef<device::Device>>,
    #[pin]
    data: D::Instance,
}

/// An IOMMU that the core knows.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Device,
///     iommu::{
///         device::{
///             Registration,
///             Settings, //
///         },
///         driver::SoundDriver,
///         ops::Ops, //
///     }, //
/// };
///
/// /// Gives an IOMMU to the core. `ops` is a `static` of the driver.
/// fn register<D>(
///     ops: &'static Ops<D>,
///     hardware: &Device,
///     instance: D::Instance,
/// ) -> Result<Registration<D>>
/// where
///     D: SoundDriver,
/// {
///     let settings = Settings {
///         name: c"my-iommu",
///         parent: Some(hardware),
///         attributes: None,
///         max_pasids: 0,
///     };
///     Registration::new(ops, settings, instance)
/// }
/// ```
pub struct Registration<D: SoundDriver> {
    /// Dropped only if the core has let go of it.
    instance: ManuallyDrop<Pin<KBox<Instance<D>>>>,
}

// SAFETY: The core serialises its own accesses. The data is `Send` and `Sync`.
unsafe impl<D: SoundDriver> Send for Registration<D> {}
// SAFETY: As for `Send`.
unsafe impl<D: SoundDriver> Sync for Registration<D> {}

impl<D: SoundDriver> Registration<D> {
    /// Adds the IOMMU to sysfs and gives it to the core. The core probes the devices that exist
    /// already, and later each new one.
    ///
    /// Context: may sleep. [`Driver::probe_device`] is called before this returns.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], the initialiser's error, or the core's.
    pub fn new<E>(
        ops: &'static Ops<D>,
        settings: Settings<'_>,
        data: impl PinInit<D::Instance, E>,
    ) -> Result<Registration<D>>
    where
        Error: From<E>,
    {
        let parent = settings
            .parent
            .map_or(ptr::null_mut(), |parent| parent.as_raw());
        let groups = settings
            .attributes
            .map_or(ptr::null_mut(), Attributes::as_raw);
        let instance: Pin<KBox<Instance<D>>> = KBox::pin_init::<Error>(
            try_pin_init!(Instance {
                raw: Opaque::zeroed(),
                entry <- Entry::new::<D>(),
                devices: Atomic::new(0),
                _parent: settings.parent.map(ARef::from),
                data <- data,
            }? Error),
            GFP_KERNEL,
        )?;
        let raw = instance.raw.get();
        // SAFETY: `raw` is zeroed, and nobody else uses it before it is registered.
        unsafe { (*raw).max_pasids = settings.max_pasids };
        // SAFETY: `raw` stays where it is until it is removed. The attributes are `static` and only
        // read. The parent is valid or null. The format takes one string argument.
        to_result(unsafe {
            bindings::iommu_device_sysfs_add(
                raw,
                parent,
                groups,
                c"%s".as_char_ptr(),
                settings.name.as_char_ptr(),
            )
        })?;
        // SAFETY: The entry is new, and stays where it is until it is removed. The parent is valid
        // or null.
        unsafe { registry::add(&instance.entry, raw, parent) };
        // SAFETY: `raw` was added to sysfs, and stays where it is until it is unregistered. `ops`
        // lives for ever.
        let registered = unsafe { bindings::iommu_device_register(raw, ops.as_raw(), parent) };
        if let Err(error) = to_result(registered) {
            // The core has released all devices, and no longer refers to the instance.
            // SAFETY: The entry and the sysfs part were added above.
            unsafe {
                registry::remove(&instance.entry);
                bindings::iommu_device_sysfs_remove(raw);
            }
            return Err(error);
        }
        Ok(Registration {
            instance: ManuallyDrop::new(instance),
        })
    }

    /// What the driver keeps for the IOMMU.
    pub fn data(&self) -> &D::Instance {
        &self.instance.data
    }
}

impl<D: SoundDriver> Drop for Registration<D> {
    fn drop(&mut self) {
        let instance = &self.instance;
        let raw = instance.raw.get();
        // With the lock held, no device is probed meanwhile.
        let is_gone = registry::locked(|| {
            if instance.devices.load(Acquire) != 0 {
                return false;
            }
            // SAFETY: The instance is registered, and its entry is in the list. No device is behind
            // the IOMMU. None can be probed, because the core's lock is held, and the entry is
            // removed under the same lock.
            unsafe {
                bindings::iommu_device_unregister(raw);
                registry::remove_locked(&instance.entry);
            }
            true
        });
        if is_gone {
            // SAFETY: The instance was added to sysfs. The core no longer refers to it, and this is
            // the registration's last use of it.
            unsafe {
                bindings::iommu_device_sysfs_remove(raw);
                ManuallyDrop::drop(&mut self.instance);
            }
        } else {
            // The core holds the module for each device behind the IOMMU, but lets go of it with
            // the last device. It would still find the IOMMU then.
            // SAFETY: The instance is registered, so its ops are those of the driver, which live as
            // long as the module. A device is behind the IOMMU, or was when `is_gone` was decided,
            // and whoever drops this runs code of the module.
            #[cfg(CONFIG_MODULE_UNLOAD)]
            unsafe {
                bindings::__module_get((*(*raw).ops).owner)
            };
            pr_err!("IOMMU: devices are behind it; it stays registered\n");
        }
    }
}

/// The instance that the core's pointer belongs to.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`, for `'a`.
pub(super) unsafe fn instance_of<'a, D: Driver>(
    iommu: *mut bindings::iommu_device,
) -> &'a D::Instance {
    // SAFETY: The caller promises that `iommu` belongs to an instance of `D` that lives for `'a`.
    unsafe { &(*whole::<D>(iommu)).data }
}

/// # Safety
///
/// `iommu` must belong to a registered instance of `D`.
unsafe fn whole<D: Driver>(iommu: *mut bindings::iommu_device) -> *const Instance<D> {
    // SAFETY: The caller promises that `iommu` is the field `raw` of an instance of `D`.
    unsafe { container_of!(Opaque::cast_from(iommu.cast_const()), Instance<D>, raw) }
}

/// Counts a device that was probed.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`.
pub(super) unsafe fn count_probed<D: Driver>(iommu: *mut bindings::iommu_device) {
    // SAFETY: The caller promises that `iommu` belongs to a registered instance of `D`.
    unsafe { (*whole::<D>(iommu)).devices.fetch_add(1, Relaxed) };
}

/// Counts a device that was released. The driver's endpoint for it is gone.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`, and the device must have been counted as
/// probed.
pub(super) unsafe fn count_released<D: Driver>(iommu: *mut bindings::iommu_device) {
    // SAFETY: The caller promises that `iommu` belongs to a registered instance of `D`.
    unsafe { (*whole::<D>(iommu)).devices.fetch_sub(1, Release) };
}

/// Finds the instance of `D` that a device is behind, by the firmware node that the device names.
///
/// # Safety
///
/// `dev` must be valid and be probed by the core, which holds its lock.
pub(super) unsafe fn find<D: Driver>(
    dev: *mut bindings::device,
) -> Option<*mut bindings::iommu_device> {
    // SAFETY: The caller promises this.
    unsafe { registry::find(Entry::key::<D>(), dev) }
}
