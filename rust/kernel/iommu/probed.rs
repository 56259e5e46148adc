// SPDX-License-Identifier: GPL-2.0

//! A device in the hands of a driver's callback.

use super::{
    device,
    domain::DomainRef,
    driver::Driver, //
};
use crate::{
    bindings,
    device::Device,
    types::NotThreadSafe, //
};
use core::ops::Deref;

/// A device that the driver has probed, for the length of a callback.
pub struct Probed<'a, D: Driver> {
    dev: &'a Device,
    endpoint: &'a D::Endpoint,
    instance: &'a D::Instance,
    _not_sync: NotThreadSafe,
}

impl<'a, D: Driver> Probed<'a, D> {
    /// # Safety
    ///
    /// `dev` must be a device that [`Ops<D>`](super::ops::Ops) has probed and not released, for
    /// `'a`.
    pub(super) unsafe fn from_raw(dev: *mut bindings::device) -> Probed<'a, D> {
        // SAFETY: By the caller's promise the device is valid, and was probed: the C side has set
        // its `iommu` and, from what `probe_device` answered, its instance; `probe_device` has
        // stored an `Arc<D::Endpoint>`, which `release_device` drops.
        unsafe {
            Probed {
                dev: Device::from_raw(dev),
                endpoint: &*bindings::dev_iommu_priv_get(dev).cast::<D::Endpoint>(),
                instance: device::instance_of::<D>((*(*dev).iommu).iommu_dev),
                _not_sync: NotThreadSafe,
            }
        }
    }

    /// The device.
    pub fn dev(&self) -> &'a Device {
        self.dev
    }

    /// What the driver keeps for it.
    pub fn endpoint(&self) -> &'a D::Endpoint {
        self.endpoint
    }

    /// What the driver keeps for the IOMMU that the device is behind.
    pub fn instance(&self) -> &'a D::Instance {
        self.instance
    }
}

/// Whether the core can take the failure of an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It can: somebody asked for this domain, and is told.
    Optional,
    /// It may not: it puts the device back where the device belongs, after a reset, when user space
    /// has let go of it, or when another device of the group could not be attached. All that it can
    /// do about a failure is to warn.
    Mandatory,
}

/// A device whose translation changes, for the length of a callback.
///
/// # Invariants
///
/// The IOMMU core serialises the changes of the device's translation while this exists.
pub struct AttachTarget<'a, D: Driver> {
    device: Probed<'a, D>,
    /// What the device is attached to; null when it is released.
    domain: *mut bindings::iommu_domain,
    /// What it was attached to; null when that is nothing, or not known.
    old: *mut bindings::iommu_domain,
}

impl<'a, D: Driver> AttachTarget<'a, D> {
    /// # Safety
    ///
    /// `dev` must be a device that [`Ops<D>`](super::ops::Ops) has probed and not released, for
    /// `'a`, and the core must serialise the changes of its translation. `old` must be valid for
    /// `'a`, or null.
    pub(super) unsafe fn from_raw(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
        old: *mut bindings::iommu_domain,
    ) -> AttachTarget<'a, D> {
        // INVARIANT: By the caller's promise.
        AttachTarget {
            // SAFETY: By the caller's promise.
            device: unsafe { Probed::from_raw(dev) },
            domain,
            old,
        }
    }

    /// Whether the core can take the failure of this attach, as far as the core tells.
    ///
    /// It cannot when it puts the device back into its group's default domain. Neither can it when
    /// it puts a device back into the domain of its group, after a reset or after a failure; a
    /// driver that remembers the domain can guess whether it does that.
    pub fn demand(&self) -> Demand {
        if self.domain.is_null() {
            return Demand::Mandatory;
        }
        // SAFETY: The core attaches only devices that are in a group, whose default domain does not
        // change while this exists; the function reads a pointer.
        let default = unsafe { bindings::iommu_get_dma_domain(self.dev.as_raw()) };
        if self.domain == default {
            Demand::Mandatory
        } else {
            Demand::Optional
        }
    }

    /// The domain that the device, or the PASID, is in so far; [`None`] when it is in none, or when
    /// it is released.
    pub fn old(&self) -> Option<DomainRef<'a>> {
        // SAFETY: By the promise made to `from_raw`.
        unsafe { DomainRef::from_raw(self.old) }
    }
}

impl<'a, D: Driver> Deref for AttachTarget<'a, D> {
    type Target = Probed<'a, D>;

    fn deref(&self) -> &Probed<'a, D> {
        &self.device
    }
}
