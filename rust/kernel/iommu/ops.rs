// SPDX-License-Identifier: GPL-2.0

//! What an IOMMU driver implements: `struct iommu_ops`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    ats::Ats,
    device::IommuDevice,
    domain::{
        NewDomain,
        Paging,
        PagingDomain,
        StaticDomain,
        StaticDomainOps,
        StaticKind, //
    },
    resv::ReservedRegions, //
};
use crate::{
    bindings,
    device,
    error::Error,
    ffi::c_int,
    prelude::*,
    sync::Arc,
    types::NotThreadSafe, //
};
use core::marker::PhantomData;

/// A capability that the core asks a driver about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// DMA can be made coherent with the CPUs' caches.
    CacheCoherency,
    /// The device may use Address Translation Services ([`super::ats`]).
    PciAts,
    /// Any other; a driver that does not know it lacks it.
    Other,
}

/// How devices are sorted into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By PCI topology and access control.
    Pci,
    /// Each device by itself.
    PerDevice,
}

/// What [`Driver::default_domain`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultDomain {
    /// Whatever the system's policy is.
    Any,
    /// A translating domain, whatever the policy is.
    Translating,
    /// The identity domain, whatever the policy is.
    Identity,
}

/// What [`Driver::first_attach`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstAttach {
    /// A new device is attached to its default domain.
    AtOnce,
    /// A new device stays as it is until it is mapped for, or given to user space.
    WhenUsed,
}

/// What [`Driver::probe_device`] answers.
pub struct Probed<D: Driver> {
    /// The instance that the device is behind.
    pub iommu: &'static IommuDevice<D>,
    /// The driver's state of the device.
    pub endpoint: Arc<D::Endpoint>,
}

/// Whether the core can take the failure of an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It can: somebody asked for this domain, and is told.
    Optional,
    /// It may not: it puts the device back where the device belongs, after a reset, when user space
    /// has let go of it, or when another device of the group could not be attached. All that it can do
    /// about a failure is to warn.
    Mandatory,
}

/// A device whose translation changes, for the length of a callback.
///
/// A domain is attached to a device as a whole; a PASID would be a further field here.
///
/// # Invariants
///
/// The IOMMU core serialises the changes of the device's translation while this exists.
pub struct AttachTarget<'a, D: Driver> {
    dev: &'a device::Device,
    endpoint: &'a D::Endpoint,
    /// What the device is attached to; null when it is released.
    domain: *mut bindings::iommu_domain,
    _not_sync: NotThreadSafe,
}

impl<'a, D: Driver> AttachTarget<'a, D> {
    /// # Safety
    ///
    /// `dev` must be a device that [`Ops<D>`] has probed and not released, for `'a`, and the core
    /// must serialise the changes of its translation.
    pub(super) unsafe fn from_raw(
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> AttachTarget<'a, D> {
        // SAFETY: By the caller's promise.
        let (dev, endpoint) = unsafe { probed::<D>(dev) };
        // INVARIANT: By the caller's promise.
        AttachTarget {
            dev,
            endpoint,
            domain,
            _not_sync: NotThreadSafe,
        }
    }

    /// Whether the core can take the failure of this attach, as far as the core tells.
    ///
    /// It cannot when it puts the device back into its group's default domain. Neither can it when it
    /// puts a device back into the domain of its group, after a reset or after a failure; a driver
    /// that remembers the domain can guess whether it does that.
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

    /// The device.
    pub fn dev(&self) -> &'a device::Device {
        self.dev
    }

    /// What the driver keeps for it.
    pub fn endpoint(&self) -> &'a D::Endpoint {
        self.endpoint
    }
}

/// # Safety
///
/// `dev` must be a device that [`Ops<D>`] has probed and not released, for `'a`.
unsafe fn probed<'a, D: Driver>(
    dev: *mut bindings::device,
) -> (&'a device::Device, &'a D::Endpoint) {
    // SAFETY: By the caller's promise: `probe_device` below stored an `Arc<D::Endpoint>`, which
    // `release_device` drops.
    unsafe {
        (
            device::Device::from_raw(dev),
            &*bindings::dev_iommu_priv_get(dev).cast::<D::Endpoint>(),
        )
    }
}

/// An IOMMU driver.
pub trait Driver: Sized + 'static {
    /// What the driver keeps for each device.
    type Endpoint: Send + Sync + 'static;

    /// The driver's paging domains.
    type Domain: PagingDomain<Driver = Self>;

    /// How devices are grouped.
    const GROUPING: Grouping;

    /// Whether DMA of a device can have the capability.
    ///
    /// Context: any.
    fn capable(endpoint: &Self::Endpoint, capability: Capability) -> bool;

    /// A device has appeared. Is it behind this IOMMU? `ats` is its ATS, if it has that.
    ///
    /// Context: may sleep; calls are serialised.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: not ours. With any error the device does DMA *untranslated*: when it is ours but
    /// cannot be served, succeed here, answer [`DefaultDomain::Translating`] and fail
    /// [`Driver::alloc_domain`]: the core then puts it into the blocking domain and lets go of it. A
    /// failing attach does the same, with a warning.
    fn probe_device(dev: &device::Device, ats: Option<Ats>) -> Result<Probed<Self>>;

    /// The device goes: it is in the blocking domain. Or it is in no domain yet, as its probing failed
    /// later on, or as its first attach was left for later: it is to be blocked.
    ///
    /// Context: may sleep.
    fn release_device(target: &AttachTarget<'_, Self>);

    /// Which default domain the device can have.
    ///
    /// Context: may sleep.
    fn default_domain(_endpoint: &Self::Endpoint) -> DefaultDomain {
        DefaultDomain::Any
    }

    /// When a new device is attached for the first time.
    ///
    /// The core honours [`FirstAttach::WhenUsed`] in kernels that run after a crash, and only with a
    /// translating default domain: in others the driver must answer [`FirstAttach::AtOnce`].
    ///
    /// Context: may sleep; called once, after [`Driver::probe_device`].
    fn first_attach(_endpoint: &Self::Endpoint) -> FirstAttach {
        FirstAttach::AtOnce
    }

    /// Adds the IOVAs that must not be used for `dev`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the core cannot be told, and goes on with what was added.
    fn reserved_regions(dev: &device::Device, regions: &mut ReservedRegions) -> Result;

    /// Allocates a domain that the device could be attached to.
    ///
    /// Context: may sleep; not serialised.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what prevents it.
    fn alloc_domain(
        dev: &device::Device,
        endpoint: &Self::Endpoint,
    ) -> Result<NewDomain<Self::Domain>>;
}

/// A driver's `struct iommu_ops`; to be the value of a `static`, which is then read-only.
pub struct Ops<D: Driver> {
    raw: bindings::iommu_ops,
    _driver: PhantomData<fn() -> D>,
}

// SAFETY: Nothing writes the ops once they are built.
unsafe impl<D: Driver> Sync for Ops<D> {}
// SAFETY: The ops are not bound to a thread.
unsafe impl<D: Driver> Send for Ops<D> {}

impl<D: Driver> Ops<D> {
    const DOMAIN_OPS: bindings::iommu_domain_ops = Paging::<D::Domain>::OPS;

    /// Ops with these static domains. A device is left in `blocking` when its driver is done with
    /// it, and when it cannot be attached to anything else.
    pub const fn new<I, B>(
        identity: &'static StaticDomain<I>,
        blocking: &'static StaticDomain<B>,
    ) -> Ops<D>
    where
        I: StaticDomainOps<Driver = D>,
        B: StaticDomainOps<Driver = D>,
    {
        const {
            assert!(matches!(I::KIND, StaticKind::Identity));
            assert!(matches!(B::KIND, StaticKind::Blocking));
        }
        // SAFETY: All-zero bytes are a valid `struct iommu_ops`: it holds nullable pointers and a
        // bit.
        let mut raw: bindings::iommu_ops =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        raw.capable = Some(Self::capable);
        raw.probe_device = Some(Self::probe_device);
        raw.release_device = Some(Self::release_device);
        raw.device_group = Some(match D::GROUPING {
            Grouping::Pci => bindings::pci_device_group,
            Grouping::PerDevice => bindings::generic_device_group,
        });
        raw.get_resv_regions = Some(Self::get_resv_regions);
        raw.def_domain_type = Some(Self::def_domain_type);
        raw.is_attach_deferred = Some(Self::is_attach_deferred);
        raw.domain_alloc_paging = Some(Self::domain_alloc_paging);
        raw.default_domain_ops = &Self::DOMAIN_OPS;
        raw.identity_domain = identity.as_raw();
        raw.blocked_domain = blocking.as_raw();
        raw.release_domain = blocking.as_raw();
        Ops {
            raw,
            _driver: PhantomData,
        }
    }

    pub(super) fn as_raw(&'static self) -> *const bindings::iommu_ops {
        &self.raw
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `capable` only.
    unsafe extern "C" fn capable(
        dev: *mut bindings::device,
        capability: bindings::iommu_cap,
    ) -> bool {
        let capability = match capability {
            bindings::iommu_cap::IOMMU_CAP_CACHE_COHERENCY => Capability::CacheCoherency,
            bindings::iommu_cap::IOMMU_CAP_PCI_ATS_SUPPORTED => Capability::PciAts,
            _ => Capability::Other,
        };
        // SAFETY: The core asks about devices that were probed.
        let (_, endpoint) = unsafe { probed::<D>(dev) };
        D::capable(endpoint, capability)
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `probe_device` only.
    unsafe extern "C" fn probe_device(dev: *mut bindings::device) -> *mut bindings::iommu_device {
        // SAFETY: The core passes a valid device.
        let device = unsafe { device::Device::from_raw(dev) };
        match D::probe_device(device, Ats::of(device)) {
            Ok(probed) => {
                let Some(iommu) = probed.iommu.as_raw() else {
                    // INVARIANT: The core does not know the device yet, and holds its probe lock.
                    D::release_device(&AttachTarget {
                        dev: device,
                        endpoint: &probed.endpoint,
                        domain: core::ptr::null_mut(),
                        _not_sync: NotThreadSafe,
                    });
                    return ENODEV.to_ptr();
                };
                let endpoint = Arc::into_raw(probed.endpoint);
                // SAFETY: The core holds its probe lock and lets the driver set its pointer here.
                unsafe { bindings::dev_iommu_priv_set(dev, endpoint.cast_mut().cast()) };
                iommu
            }
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `release_device` only.
    unsafe extern "C" fn release_device(dev: *mut bindings::device) {
        // SAFETY: The core releases only what was probed, once, and attaches it to nothing
        // meanwhile.
        D::release_device(&unsafe { AttachTarget::from_raw(dev, core::ptr::null_mut()) });
        // SAFETY: The pointer comes from `Arc::into_raw` in `probe_device`; the core does not use it
        // again, and the target above is gone.
        drop(unsafe { Arc::from_raw(bindings::dev_iommu_priv_get(dev).cast::<D::Endpoint>()) });
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `def_domain_type` only.
    unsafe extern "C" fn def_domain_type(dev: *mut bindings::device) -> c_int {
        // SAFETY: The core asks about devices that were probed.
        let (_, endpoint) = unsafe { probed::<D>(dev) };
        let kind = match D::default_domain(endpoint) {
            DefaultDomain::Any => 0,
            DefaultDomain::Translating => bindings::IOMMU_DOMAIN_DMA,
            DefaultDomain::Identity => bindings::IOMMU_DOMAIN_IDENTITY,
        };
        kind as c_int
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `is_attach_deferred` only.
    unsafe extern "C" fn is_attach_deferred(dev: *mut bindings::device) -> bool {
        // SAFETY: The core asks about devices that were probed.
        let (_, endpoint) = unsafe { probed::<D>(dev) };
        D::first_attach(endpoint) == FirstAttach::WhenUsed
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `get_resv_regions` only.
    unsafe extern "C" fn get_resv_regions(
        dev: *mut bindings::device,
        head: *mut bindings::list_head,
    ) {
        // SAFETY: The core passes a valid device and a list that is the caller's own.
        let (dev, mut regions) = unsafe {
            (
                device::Device::from_raw(dev),
                ReservedRegions::from_raw(head),
            )
        };
        if D::reserved_regions(dev, &mut regions).is_err() {
            dev_err!(dev, "IOMMU: no memory for the list of reserved regions\n");
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `domain_alloc_paging` only.
    unsafe extern "C" fn domain_alloc_paging(
        dev: *mut bindings::device,
    ) -> *mut bindings::iommu_domain {
        // SAFETY: The core allocates domains only for devices that were probed.
        let (dev, endpoint) = unsafe { probed::<D>(dev) };
        D::alloc_domain(dev, endpoint).map_or_else(Error::to_ptr, NewDomain::into_raw)
    }
}
