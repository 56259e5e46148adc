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

/// A feature that device and driver can agree on. It has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Feature(u32);

impl Feature {
    /// The device follows version 1 of the specification. All its numbers are little endian.
    pub const VERSION_1: Feature = Feature(bindings::VIRTIO_F_VERSION_1);

    /// The feature of a number, which must be a constant.
    #[inline(always)]
    pub const fn new(number: u32) -> Feature {
        // The kernel keeps that many bits.
        build_assert!(number < bindings::VIRTIO_FEATURES_BITS);
        Feature(number)
    }
}

/// A virtio device.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Core,
///     sync::Arc,
///     virtio::{
///         device::Feature,
///         queue::{
///             Queue,
///             State, //
///         },
///         Device, //
///     }, //
/// };
///
/// const WRITE_CACHE: Feature = Feature::new(9);
///
/// /// What a driver does while it probes a device with one queue.
/// fn open<S: State>(device: &Device<Core<'_>>, requests: Arc<Queue<S>>) -> Result {
///     if !device.has(WRITE_CACHE) {
///         return Err(ENODEV);
///     }
///     device.find_queues([requests.into()])?;
///     device.ready();
///     Ok(())
/// }
/// ```
///
/// # Invariants
///
/// The structure is a valid `struct virtio_device`.
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
        // SAFETY: By the type invariant, the device is valid. Its features do not change while it
        // has a driver. The number is within the feature bits.
        unsafe { bindings::virtio_test_bit(self.as_raw(), feature.0) }
    }

    /// The configuration space.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device is of another type, or older than version 1 of the specification.
    pub fn config<L: Layout>(&self) -> Result<Config<'_, L>> {
        // SAFETY: By the type invariant, the device is valid. Its type does not change.
        let kind = unsafe { (*self.as_raw()).id.device };
        if kind != L::DEVICE || !self.has(Feature::VERSION_1) {
            return Err(ENODEV);
        }
        Ok(Config::new(self))
    }

    /// The device through which this one is reached, such as a PCI function.
    pub fn parent(&self) -> Option<&device::Device<device::Bound>> {
        // SAFETY: By the type invariant, the device is valid. The parent's driver registers a
        // virtio device, and unregisters it before it lets go of the parent. So the parent is
        // bound.
        unsafe {
            let parent = (*self.as_raw()).dev.parent;
            (!parent.is_null())
                .then(|| device::Device::<device::Normal>::from_raw(parent).as_bound())
        }
    }
}

impl Device<device::Core<'_>> {
    /// Opens the device's queues, in the order of the specification. Must be called once only.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: it was called before. [`ENOMEM`], or the transport's error.
    pub fn find_queues<const N: usize>(&self, queues: [QueueRef; N]) -> Result {
        // SAFETY: By the type invariant, the device is valid. The driver is being probed, and
        // nobody else uses the pointer, which the adapter has cleared before.
        if !unsafe { (*self.as_raw()).priv_.is_null() } {
            return Err(EBUSY);
        }
        let set = KBox::new(queue::Set::new(queues)?, GFP_KERNEL)?;
        // From now on the adapter frees the set. Callbacks find their queue in it.
        let set = KBox::into_raw(set);
        // SAFETY: The device and the pointer are as above. The set is valid until the adapter frees
        // it, which it does after the queues are deleted.
        unsafe {
            (*self.as_raw()).priv_ = set.cast();
            (*set).open(self.as_raw())
        }
    }

    /// Tells the device that the driver is ready, so that the driver can use the queues while it
    /// probes the device. Without this, the core tells the device after the probe.
    ///
    /// Context: may sleep.
    pub fn ready(&self) {
        // SAFETY: By the type invariant, the device is valid. It has a driver, so its `config` is
        // set.
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
    /// Prepares the device for a driver: it has no queues yet.
    pub(super) fn begin(&self) {
        // SAFETY: By the type invariant, the device is valid. The pointer belongs to the driver,
        // which is about to be probed.
        unsafe { (*self.as_raw()).priv_ = ptr::null_mut() };
    }

    /// Closes all queues, resets the device, and frees the queues.
    ///
    /// Context: may sleep.
    pub(super) fn end(&self) {
        let raw = self.as_raw();
        // SAFETY: By the type invariant, the device is valid. `begin` has set the pointer, and only
        // `find_queues` has written it since.
        let set = unsafe { (*raw).priv_.cast::<queue::Set>() };
        // SAFETY: The pointer is null, or the set is valid until it is freed below.
        if let Some(set) = unsafe { set.as_ref() } {
            set.close();
        }
        // SAFETY: The device has a driver. All queues are closed, so nobody kicks one.
        unsafe { bindings::virtio_reset_device(raw) };
        if set.is_null() {
            return;
        }
        // SAFETY: The set comes from a box, and is valid until it is freed here. The device is
        // reset, and its queues are closed. After they are deleted, no callback looks for the set.
        unsafe {
            (*set).delete(raw);
            (*raw).priv_ = ptr::null_mut();
            drop(KBox::from_raw(set));
        }
    }
}

// SAFETY: `Device` is a transparent wrapper of `struct virtio_device`, which has its
// `struct device` at this offset.
unsafe impl<Ctx: device::DeviceContext> device::AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::virtio_device, dev);
}

// SAFETY: `Device` is a transparent wrapper of a type that does not depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: The `struct device` in a virtio device counts the references to both.
unsafe impl crate::sync::aref::AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The reference proves that the count is not zero.
        unsafe { bindings::get_device(self.as_ref().as_raw()) };
    }

    unsafe fn dec_ref(object: NonNull<Self>) {
        // SAFETY: The caller promises that the count is not zero.
        unsafe { bindings::put_device(&raw mut (*object.as_ref().as_raw()).dev) }
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant, the `struct device` in the structure is valid.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: A `Device` is reference-counted and can be released in any thread.
unsafe impl Send for Device {}
// SAFETY: The methods of `Device` can be called in any thread.
unsafe impl Sync for Device {}
// SAFETY: As for `Device`. The context is a type without values.
unsafe impl Sync for Device<device::Bound> {}
