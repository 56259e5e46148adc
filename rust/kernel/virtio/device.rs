// SPDX-License-Identifier: GPL-2.0

//! A virtio device.

use super::{
    config::{
        Config,
        Layout, //
    },
    queue::{
        self,
        QueueRef, //
    }, //
};
use crate::{
    bindings,
    device,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// A feature that device and driver can agree on, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Feature(u32);

impl Feature {
    /// The device follows version 1 of the specification: all its numbers are little endian.
    pub const VERSION_1: Feature = Feature(bindings::VIRTIO_F_VERSION_1);

    /// The feature with that number, a constant.
    #[inline(always)]
    pub const fn new(number: u32) -> Feature {
        // The kernel has room for no more.
        build_assert!(number < bindings::VIRTIO_FEATURES_BITS);
        Feature(number)
    }
}

/// A virtio device.
///
/// # Invariants
///
/// It is a valid `struct virtio_device`.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::virtio_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    pub(super) fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }
}

impl Device<device::Bound> {
    /// Whether device and driver have agreed on a feature.
    pub fn has(&self, feature: Feature) -> bool {
        // SAFETY: By the type invariant. The features of a device with a driver do not change; the
        // number is one that there is room for.
        unsafe { bindings::virtio_test_bit(self.as_raw(), feature.0) }
    }

    /// The configuration space.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device is of another type, or of a time before version 1 of the
    /// specification.
    pub fn config<L: Layout>(&self) -> Result<Config<'_, L>> {
        // SAFETY: By the type invariant; the type of a device does not change.
        let kind = unsafe { (*self.as_raw()).id.device };
        if kind != L::DEVICE || !self.has(Feature::VERSION_1) {
            return Err(ENODEV);
        }
        Ok(Config::new(self))
    }

    /// The device by which this one is reached, on PCI for instance.
    pub fn parent(&self) -> Option<&device::Device<device::Bound>> {
        // SAFETY: By the type invariant. A virtio device is registered by its parent's driver, and
        // unregistered before that driver lets go of the parent, which is bound all the time
        // therefore.
        unsafe {
            let parent = (*self.as_raw()).dev.parent;
            (!parent.is_null())
                .then(|| device::Device::<device::Normal>::from_raw(parent).as_bound())
        }
    }
}

impl Device<device::Core<'_>> {
    /// Opens the device's queues, in the order in which the specification numbers them. To be
    /// called once.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: it was called before. [`ENOMEM`], or what the transport answers.
    pub fn find_queues<const N: usize>(&self, queues: [QueueRef; N]) -> Result {
        // SAFETY: By the type invariant; the driver is being probed, and no other has the pointer:
        // the adapter has cleared it.
        if !unsafe { (*self.as_raw()).priv_.is_null() } {
            return Err(EBUSY);
        }
        let set = KBox::new(queue::Set::new(queues)?, GFP_KERNEL)?;
        // From now on the adapter frees it. Callbacks look for their queue there.
        let set = KBox::into_raw(set);
        // SAFETY: As above. The set is valid until the adapter frees it, after the queues are gone.
        unsafe {
            (*self.as_raw()).priv_ = set.cast();
            (*set).open(self.as_raw())
        }
    }

    /// Tells the device that the driver is ready: its queues can be used while it is probed. The
    /// core tells it afterwards anyway.
    ///
    /// Context: may sleep.
    pub fn ready(&self) {
        // SAFETY: By the type invariant, with a driver.
        unsafe {
            let get_status = (*(*self.as_raw()).config).get_status;
            let is_ready = get_status.is_some_and(|get| {
                u32::from(get(self.as_raw())) & bindings::VIRTIO_CONFIG_S_DRIVER_OK != 0
            });
            if !is_ready {
                bindings::virtio_device_ready(self.as_raw());
            }
        }
    }
}

impl Device<device::CoreInternal<'_>> {
    /// The device gets a driver, and has no queues yet.
    pub(super) fn begin(&self) {
        // SAFETY: By the type invariant; the pointer is the driver's, and the driver is being
        // probed.
        unsafe { (*self.as_raw()).priv_ = ptr::null_mut() };
    }

    /// Closes all queues, resets the device and gives their memory back.
    ///
    /// Context: may sleep.
    pub(super) fn end(&self) {
        let raw = self.as_raw();
        // SAFETY: By the type invariant; `begin` was called, since when only `find_queues` has
        // written the pointer.
        let set = unsafe { (*raw).priv_.cast::<queue::Set>() };
        // SAFETY: A set is valid until it is freed below.
        if let Some(set) = unsafe { set.as_ref() } {
            set.close();
        }
        // SAFETY: The device has a driver. Nobody kicks a queue any more: all are closed.
        unsafe { bindings::virtio_reset_device(raw) };
        if set.is_null() {
            return;
        }
        // SAFETY: The set is valid until it is freed, and comes from a box. The device is reset,
        // and its queues are closed. Once they are deleted, no callback can look for the set any
        // more.
        unsafe {
            (*set).delete(raw);
            (*raw).priv_ = ptr::null_mut();
            drop(KBox::from_raw(set));
        }
    }
}

// SAFETY: `Device` is a transparent wrapper of `struct virtio_device`, which holds a
// `struct device` at that offset.
unsafe impl<Ctx: device::DeviceContext> device::AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::virtio_device, dev);
}

// SAFETY: `Device` is a transparent wrapper of a type that does not depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: A virtio device is reference-counted as the device in it is.
unsafe impl crate::sync::aref::AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The reference shows that the count is not zero.
        unsafe { bindings::get_device(self.as_ref().as_raw()) };
    }

    unsafe fn dec_ref(object: NonNull<Self>) {
        // SAFETY: By the caller's promise the count is not zero.
        unsafe { bindings::put_device(&raw mut (*object.as_ref().as_raw()).dev) }
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant the device in it is valid.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: A `Device` is reference-counted and can be released in any thread.
unsafe impl Send for Device {}
// SAFETY: The methods of `Device` can be called in any thread.
unsafe impl Sync for Device {}
// SAFETY: As above; the context has no size.
unsafe impl Sync for Device<device::Bound> {}
