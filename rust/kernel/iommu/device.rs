// SPDX-License-Identifier: GPL-2.0

//! IOMMU instances: `struct iommu_device`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    attribute::Attributes,
    ops::{
        Driver,
        Ops, //
    }, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{
        ordering::{
            Full,
            Relaxed, //
        },
        AtomicFlag, //
    },
    types::Opaque, //
};
use core::marker::PhantomData;

/// One IOMMU, as the IOMMU core sees it.
///
/// An IOMMU outlives every device behind it, so instances are `static`, and never unregistered.
pub struct IommuDevice<D: Driver> {
    raw: Opaque<bindings::iommu_device>,
    registered: AtomicFlag,
    _driver: PhantomData<fn() -> D>,
}

// SAFETY: The core serialises its own accesses; ours happen under `registered`, once.
unsafe impl<D: Driver> Sync for IommuDevice<D> {}
// SAFETY: `struct iommu_device` is not bound to a thread.
unsafe impl<D: Driver> Send for IommuDevice<D> {}

impl<D: Driver> IommuDevice<D> {
    /// An instance that is not registered yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> IommuDevice<D> {
        IommuDevice {
            raw: Opaque::zeroed(),
            registered: AtomicFlag::new(false),
            _driver: PhantomData,
        }
    }

    /// The instance for the core; [`None`] when it was never given to the core, which could then do
    /// nothing with it.
    pub(super) fn as_raw(&'static self) -> Option<*mut bindings::iommu_device> {
        self.registered.load(Relaxed).then_some(self.raw.get())
    }

    /// Adds the instance as `/sys/class/iommu/<name>`, with `attributes`, and gives it to the core, which probes the
    /// devices that exist already and, from then on, each that appears.
    ///
    /// Context: may sleep. [`Driver::probe_device`] is called before this returns.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: registered before. Else what the core answers; the instance is then as before.
    pub fn register(
        &'static self,
        ops: &'static Ops<D>,
        name: &CStr,
        attributes: Attributes,
    ) -> Result {
        if self.registered.xchg(true, Full) {
            return Err(EBUSY);
        }
        self.add(ops, name, attributes).inspect_err(|_| {
            self.registered.xchg(false, Full);
        })
    }

    fn add(&'static self, ops: &'static Ops<D>, name: &CStr, attributes: Attributes) -> Result {
        // SAFETY: `raw` is a zeroed, unregistered instance that lives for ever, as the attributes do,
        // which are only read; the format takes one string argument.
        to_result(unsafe {
            bindings::iommu_device_sysfs_add(
                self.raw.get(),
                core::ptr::null_mut(),
                attributes.as_raw(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // SAFETY: As above; `ops` lives for ever, too.
        let registered = to_result(unsafe {
            bindings::iommu_device_register(self.raw.get(), ops.as_raw(), core::ptr::null_mut())
        });
        if registered.is_err() {
            // SAFETY: The instance was added to sysfs above.
            unsafe { bindings::iommu_device_sysfs_remove(self.raw.get()) };
        }
        registered
    }
}
