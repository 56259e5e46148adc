// SPDX-License-Identifier: GPL-2.0

//! A device, as a driver's callback gets it.

use super::{
    device,
    domain::{
        DomainKind,
        DomainRef, //
    },
    driver::Driver,
    fwspec, //
};
#[cfg(CONFIG_PCI)]
use crate::pci::present::PresentDevice;
use crate::{
    bindings,
    device::Device,
    types::NotThreadSafe, //
};
use core::ops::Deref;

/// A device that the core asks a driver about. It is borrowed for the length of the callback.
///
/// # Invariants
///
/// The core probes the device, with its lock held.
pub struct Probing<'a> {
    dev: &'a Device,
    _not_sync: NotThreadSafe,
}

impl<'a> Probing<'a> {
    /// # Safety
    ///
    /// `dev` must be a valid device that the core probes, with its lock held, for `'a`.
    pub(super) unsafe fn from_raw(dev: *mut bindings::device) -> Probing<'a> {
        // INVARIANT: The caller promises this.
        Probing {
            // SAFETY: The caller promises that the device is valid for `'a`.
            dev: unsafe { Device::from_raw(dev) },
            _not_sync: NotThreadSafe,
        }
    }

    /// The device.
    pub fn dev(&self) -> &'a Device {
        self.dev
    }

    /// The PCI function that the device is; [`None`] if it is none. The driver may use it until it
    /// has released the device, or has refused it.
    #[cfg(CONFIG_PCI)]
    pub fn pci(&self) -> Option<PresentDevice> {
        let function = <&crate::pci::Device>::try_from(self.dev).ok()?;
        // SAFETY: Only drivers that implement `SoundDriver` are asked about devices. They have
        // promised to use this no longer than that, and what is asked for `Ats` and
        // `bus_master::stop`. A device is released before it is taken from its bus.
        Some(unsafe { PresentDevice::new(function) })
    }

    /// The ids by which the IOMMU knows the device, as firmware says; none if it says nothing.
    pub fn ids(&self) -> &[u32] {
        // SAFETY: By the type invariant, the core probes the device for `'a`, which includes the
        // borrow of `self`.
        unsafe { fwspec::ids_of(self.dev.as_raw()) }
    }
}

/// A device that the driver has probed. It is borrowed for the length of a callback.
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
        // SAFETY: The caller promises that the device was probed and not released. So it is valid,
        // the core has set its `iommu` and its `iommu_dev`, and `probe_device` has stored a pointer
        // to a `D::Endpoint` that lives until `release_device`.
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

    /// What the driver keeps for the device.
    pub fn endpoint(&self) -> &'a D::Endpoint {
        self.endpoint
    }

    /// What the driver keeps for the IOMMU that the device is behind.
    pub fn instance(&self) -> &'a D::Instance {
        self.instance
    }
}

/// Whether the core can handle the failure of an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The core can: somebody asked for this domain, and gets the error.
    Optional,
    /// The core cannot, except by a warning. It puts the device back where it belongs: after a
    /// reset, when user space has let go of the device, or when another device of the group could
    /// not be attached.
    Mandatory,
}

/// A device whose translation changes. It is borrowed for the length of a callback.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     domain::DomainKind,
///     driver::Driver,
///     probed::{
///         AttachTarget,
///         Demand, //
///     }, //
/// };
///
/// /// Says that a device could not be attached, unless somebody else is told.
/// fn report<D: Driver>(target: &AttachTarget<'_, D>, error: Error) {
///     if target.demand() == Demand::Mandatory {
///         let was_blocked = target
///             .old()
///             .is_some_and(|old| old.kind() == DomainKind::Blocking);
///         dev_err!(
///             target.dev(),
///             "cannot be attached: {error:?}, blocked: {was_blocked}\n"
///         );
///     }
/// }
/// ```
///
/// # Invariants
///
/// The IOMMU core serialises the changes of the device's translation while this exists.
pub struct AttachTarget<'a, D: Driver> {
    device: Probed<'a, D>,
    /// The domain that the device is attached to; null when the device is released.
    domain: *mut bindings::iommu_domain,
    /// The domain that the device was attached to; null if there is none, or it is not known.
    old: *mut bindings::iommu_domain,
}

impl<'a, D: Driver> AttachTarget<'a, D> {
    /// # Safety
    ///
    /// `dev` must be a device that [`Ops<D>`](super::ops::Ops) has probed and not released, for
    /// `'a`. The core must serialise the changes of its translation for `'a`. `domain` and `old`
    /// must be valid for `'a`, or null.
    pub(super) unsafe fn from_raw(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
        old: *mut bindings::iommu_domain,
    ) -> AttachTarget<'a, D> {
        // INVARIANT: The caller promises that the core serialises the changes.
        AttachTarget {
            // SAFETY: The caller promises that the device was probed and not released.
            device: unsafe { Probed::from_raw(dev) },
            domain,
            old,
        }
    }

    /// Whether the core can handle the failure of this attach.
    ///
    /// This is [`Demand::Mandatory`] when the core puts the device into its group's default domain,
    /// at first or once more. It is [`Demand::Optional`] when the core changes the group's default
    /// domain: the core then goes back to the former one. The core also cannot handle a failure
    /// when it puts a device back into another domain of its group, after a reset or a failure. It
    /// does not tell the driver; a driver that remembers the device's last domain can guess.
    pub fn demand(&self) -> Demand {
        if self.domain.is_null() {
            return Demand::Mandatory;
        }
        // SAFETY: The core attaches only devices that are in a group, and the group's default
        // domain does not change while this exists. The function reads a pointer.
        let default = unsafe { bindings::iommu_get_dma_domain(self.dev.as_raw()) };
        // The device leaves a domain of the core's for the default domain when that is changed.
        let is_changed = self.old().is_some_and(|old| {
            old.as_raw() != default && (old.serves_dma_api() || old.kind() == DomainKind::Identity)
        });
        if self.domain == default && !is_changed {
            Demand::Mandatory
        } else {
            Demand::Optional
        }
    }

    /// Whether the device gets a domain for the DMA API, and so for a driver of the kernel. `false`
    /// for the identity domain, for domains of programs, and when the device is released.
    pub fn serves_dma_api(&self) -> bool {
        // SAFETY: The caller of `from_raw` promised that `domain` is valid for `'a`, or null.
        unsafe { DomainRef::from_raw(self.domain) }.is_some_and(|domain| domain.serves_dma_api())
    }

    /// The domain that the device, or the PASID, was in until now. [`None`] if it was in none, or
    /// if the device is released.
    pub fn old(&self) -> Option<DomainRef<'a>> {
        // SAFETY: The caller of `from_raw` promised that `old` is valid for `'a`, or null.
        unsafe { DomainRef::from_raw(self.old) }
    }
}

impl<'a, D: Driver> Deref for AttachTarget<'a, D> {
    type Target = Probed<'a, D>;

    fn deref(&self) -> &Probed<'a, D> {
        &self.device
    }
}
