// SPDX-License-Identifier: GPL-2.0

//! IOMMUs: `struct iommu_device`.
//!
//! A [`Registration`] gives one IOMMU to the core and takes it back when it is dropped. As long as
//! a device is behind the IOMMU, that cannot be: the core holds pointers to both, and whoever uses
//! the device may have mapped something. The core also holds the driver's module then. So a
//! registration that is dropped too early stays in force for ever, with its data.
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
    /// Its name in `/sys/class/iommu`.
    pub name: &'a CStr,
    /// The device that it is, if it is one. The firmware node of that tells which devices are
    /// behind it; without one, all devices are that name no IOMMU.
    pub parent: Option<&'a device::Device>,
    /// What user space can read of it.
    pub attributes: Option<Attributes>,
    /// How many PASIDs a device can have; 0 when there are none.
    pub max_pasids: u32,
}

/// One IOMMU.
#[pin_data]
struct Instance<D: Driver> {
    #[pin]
    raw: Opaque<bindings::iommu_device>,
    #[pin]
    entry: Entry,
    /// Devices that were probed and not released.
    devices: Atomic<usize>,
    /// Its firmware node names the instance as long as that is registered.
    _parent: Option<ARef<device::Device>>,
    #[pin]
    data: D::Instance,
}

/// An IOMMU that the core knows.
pub struct Registration<D: SoundDriver> {
    /// Not dropped when the core keeps it.
    instance: ManuallyDrop<Pin<KBox<Instance<D>>>>,
}

// SAFETY: The core serialises its own accesses; the data can be shared between threads.
unsafe impl<D: SoundDriver> Send for Registration<D> {}
// SAFETY: As above.
unsafe impl<D: SoundDriver> Sync for Registration<D> {}

impl<D: SoundDriver> Registration<D> {
    /// Adds the IOMMU to sysfs and gives it to the core, which probes the devices that exist
    /// already and, from then on, each that appears.
    ///
    /// Context: may sleep. [`Driver::probe_device`] is called before this returns.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], the initialiser's error, or what the core answers.
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
        // SAFETY: `raw` is zeroed and not registered.
        unsafe { (*raw).max_pasids = settings.max_pasids };
        // SAFETY: `raw` stays where it is until it is removed, and so do the attributes, which are
        // only read; the parent is valid; the format takes one string argument.
        to_result(unsafe {
            bindings::iommu_device_sysfs_add(
                raw,
                parent,
                groups,
                c"%s".as_char_ptr(),
                settings.name.as_char_ptr(),
            )
        })?;
        // SAFETY: The entry stays where it is until it is removed; the parent is valid.
        unsafe { registry::add(&instance.entry, raw, parent) };
        // SAFETY: `raw` was added to sysfs, and stays where it is until it is unregistered; `ops`
        // lives for ever.
        let registered = unsafe { bindings::iommu_device_register(raw, ops.as_raw(), parent) };
        if let Err(error) = to_result(registered) {
            // The core has released all devices and forgotten the instance.
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
        // Nothing is probed meanwhile.
        let is_gone = registry::locked(|| {
            if instance.devices.load(Acquire) != 0 {
                return false;
            }
            // SAFETY: The instance is registered. No device is behind it, nor can one be probed:
            // the core's lock is held, under which the entry is removed, too.
            unsafe {
                bindings::iommu_device_unregister(raw);
                registry::remove_locked(&instance.entry);
            }
            true
        });
        if is_gone {
            // SAFETY: The instance was added to sysfs. The core has forgotten it, and nothing uses
            // the registration any more.
            unsafe {
                bindings::iommu_device_sysfs_remove(raw);
                ManuallyDrop::drop(&mut self.instance);
            }
        } else {
            pr_err!("IOMMU: devices are behind it; it stays registered\n");
        }
    }
}

/// The instance behind the core's pointer.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`, for `'a`.
pub(super) unsafe fn instance_of<'a, D: Driver>(
    iommu: *mut bindings::iommu_device,
) -> &'a D::Instance {
    // SAFETY: By the caller's promise.
    unsafe { &(*whole::<D>(iommu)).data }
}

/// # Safety
///
/// `iommu` must belong to a registered instance of `D`.
unsafe fn whole<D: Driver>(iommu: *mut bindings::iommu_device) -> *const Instance<D> {
    // SAFETY: By the caller's promise it is the field of an instance.
    unsafe { container_of!(Opaque::cast_from(iommu.cast_const()), Instance<D>, raw) }
}

/// Counts a device that was probed.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`.
pub(super) unsafe fn count_probed<D: Driver>(iommu: *mut bindings::iommu_device) {
    // SAFETY: By the caller's promise.
    unsafe { (*whole::<D>(iommu)).devices.fetch_add(1, Relaxed) };
}

/// Counts a device that was released; its driver's part is gone.
///
/// # Safety
///
/// `iommu` must belong to a registered instance of `D`, and the device have been counted as probed.
pub(super) unsafe fn count_released<D: Driver>(iommu: *mut bindings::iommu_device) {
    // SAFETY: By the caller's promise.
    unsafe { (*whole::<D>(iommu)).devices.fetch_sub(1, Release) };
}

/// The instance of `D` that a device is behind by its firmware node.
///
/// # Safety
///
/// `dev` must be valid, and the core's probe lock held.
pub(super) unsafe fn find<D: Driver>(
    dev: *mut bindings::device,
) -> Option<*mut bindings::iommu_device> {
    // SAFETY: By the caller's promise.
    unsafe { registry::find(Entry::key::<D>(), dev) }
}
