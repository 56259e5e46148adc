// SPDX-License-Identifier: GPL-2.0

//! A driver's `struct iommu_ops`.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    device,
    domain::{
        NewDomain,
        StaticDomain,
        StaticDomainOps,
        StaticKind, //
    },
    driver::{
        AllocFlags,
        Capability,
        DefaultDomain,
        Driver,
        FirstAttach,
        Grouping, //
    },
    fault::PageResponse,
    fwspec::{
        Description,
        PhandleArgs, //
    },
    hw_info::HwInfoKind,
    probed::{
        AttachTarget,
        Probed,
        Probing, //
    },
    resv::ReservedRegions, //
};
use crate::{
    bindings,
    error::{
        from_result,
        Error, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    module::this_module,
    prelude::*,
    sync::Arc, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// A driver's `struct iommu_ops`, for a `static`, so that it is in read-only memory.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     domain::{
///         StaticDomain,
///         StaticDomainOps, //
///     },
///     driver::Driver,
///     ops::Ops, //
/// };
///
/// /// The ops of a driver that can block devices. A driver calls this for a `static`.
/// const fn ops<D, B>(blocking: &'static StaticDomain<B>) -> Ops<D>
/// where
///     D: Driver,
///     B: StaticDomainOps<Driver = D>,
/// {
///     Ops::new().with_blocking(blocking)
/// }
/// ```
pub struct Ops<D: Driver> {
    raw: bindings::iommu_ops,
    _driver: PhantomData<fn() -> D>,
}

// SAFETY: Nothing writes the ops once they are built.
unsafe impl<D: Driver> Sync for Ops<D> {}
// SAFETY: The ops are not bound to a thread.
unsafe impl<D: Driver> Send for Ops<D> {}

/// `$callback` if `$has` is true, else a null pointer.
macro_rules! given {
    ($has:expr, $callback:expr) => {
        if $has {
            Some($callback)
        } else {
            None
        }
    };
}

impl<D: Driver> Ops<D> {
    /// Ops without static domains.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Ops<D> {
        const {
            assert!(
                D::HAS_ALLOC_DOMAIN != D::HAS_ALLOC_DOMAIN_WITH,
                "a driver allocates domains in one way"
            );
        }
        let mut raw: bindings::iommu_ops = pin_init::zeroed();
        raw.capable = given!(D::HAS_CAPABLE, Self::capable);
        raw.hw_info = given!(D::HAS_HW_INFO, Self::hw_info);
        raw.domain_alloc_paging = given!(D::HAS_ALLOC_DOMAIN, Self::domain_alloc_paging);
        raw.domain_alloc_paging_flags =
            given!(D::HAS_ALLOC_DOMAIN_WITH, Self::domain_alloc_paging_flags);
        raw.probe_device = Some(Self::probe_device);
        raw.release_device = Some(Self::release_device);
        raw.probe_finalize = given!(D::HAS_PROBE_FINALIZE, Self::probe_finalize);
        raw.device_group = Some(match D::GROUPING {
            #[cfg(CONFIG_PCI)]
            Grouping::Pci => bindings::pci_device_group,
            #[cfg(CONFIG_PCI)]
            Grouping::ByBus => Self::device_group,
            // Without PCI, no device is grouped in these ways.
            #[cfg(not(CONFIG_PCI))]
            Grouping::Pci | Grouping::ByBus => bindings::generic_device_group,
            Grouping::PerDevice => bindings::generic_device_group,
            Grouping::PerInstance => bindings::generic_single_device_group,
        });
        raw.get_resv_regions = given!(D::HAS_RESERVED_REGIONS, Self::get_resv_regions);
        raw.of_xlate = given!(D::HAS_OF_XLATE, Self::of_xlate);
        raw.is_attach_deferred = given!(D::HAS_FIRST_ATTACH, Self::is_attach_deferred);
        raw.page_response = given!(D::HAS_PAGE_RESPONSE, Self::page_response);
        raw.def_domain_type = given!(D::HAS_DEFAULT_DOMAIN, Self::def_domain_type);
        raw.owner = this_module::<D::OwnerModule>().as_ptr();
        Ops {
            raw,
            _driver: PhantomData,
        }
    }

    /// Adds an identity domain.
    pub const fn with_identity<S>(mut self, domain: &'static StaticDomain<S>) -> Ops<D>
    where
        S: StaticDomainOps<Driver = D>,
    {
        const { assert!(matches!(S::KIND, StaticKind::Identity)) };
        self.raw.identity_domain = domain.as_raw();
        self
    }

    /// Adds a blocking domain. The core puts a device there when its user is done with it, when the
    /// device cannot be attached to anything else, and before it is released.
    pub const fn with_blocking<S>(mut self, domain: &'static StaticDomain<S>) -> Ops<D>
    where
        S: StaticDomainOps<Driver = D>,
    {
        const { assert!(matches!(S::KIND, StaticKind::Blocking)) };
        self.raw.blocked_domain = domain.as_raw();
        self.raw.release_domain = domain.as_raw();
        self
    }

    /// Adds a blocking domain, but the core does not put a device there before it is released. This
    /// is for an IOMMU that may know several devices by one id: only [`Driver::release_device`]
    /// knows whether other devices still need that id. The core also leaves it to that callback to
    /// spare devices for which firmware demands mappings, and which must not be blocked.
    pub const fn with_blocking_unless_released<S>(
        mut self,
        domain: &'static StaticDomain<S>,
    ) -> Ops<D>
    where
        S: StaticDomainOps<Driver = D>,
    {
        const {
            assert!(matches!(S::KIND, StaticKind::Blocking));
            assert!(D::HAS_RELEASE_DEVICE);
        };
        self.raw.blocked_domain = domain.as_raw();
        self
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
        // SAFETY: The core asks only about devices that were probed and not released.
        D::capable(&unsafe { Probed::from_raw(dev) }, Capability(capability))
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `hw_info` only.
    unsafe extern "C" fn hw_info(
        dev: *mut bindings::device,
        length: *mut u32,
        kind: *mut bindings::iommu_hw_info_type,
    ) -> *mut c_void {
        // SAFETY: The core asks only about devices that were probed and not released. `kind` is
        // valid.
        let (device, asked) = unsafe { (Probed::from_raw(dev), HwInfoKind(*kind)) };
        match D::hw_info(&device, asked) {
            Ok(info) if asked == HwInfoKind::DEFAULT || asked == info.kind() => {
                // SAFETY: The core passes pointers that are valid for writes.
                unsafe { (*length, *kind) = (info.length(), info.kind().0) };
                info.into_raw()
            }
            Ok(_) => EOPNOTSUPP.to_ptr(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `probe_device` only.
    unsafe extern "C" fn probe_device(dev: *mut bindings::device) -> *mut bindings::iommu_device {
        // SAFETY: The core passes a valid device, and holds its probe lock.
        let Some(iommu) = (unsafe { device::find::<D>(dev) }) else {
            return ENODEV.to_ptr();
        };
        // SAFETY: The core passes a valid device, and holds its probe lock. `find` has found the
        // instance, which stays registered while the core holds that lock.
        let (device, instance) =
            unsafe { (Probing::from_raw(dev), device::instance_of::<D>(iommu)) };
        match D::probe_device(instance, &device) {
            Ok(endpoint) => {
                let endpoint = Arc::into_raw(endpoint);
                // SAFETY: The device is valid. The core holds its probe lock, and lets the driver
                // set its pointer here.
                unsafe { bindings::dev_iommu_priv_set(dev, endpoint.cast_mut().cast()) };
                // SAFETY: The instance is registered, and stays so while the core holds its probe
                // lock.
                unsafe { device::count_probed::<D>(iommu) };
                iommu
            }
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `release_device` only.
    unsafe extern "C" fn release_device(dev: *mut bindings::device) {
        if D::HAS_RELEASE_DEVICE {
            // SAFETY: The core releases each device that was probed once, and does not attach it to
            // anything meanwhile. A null `old` is allowed.
            let target = unsafe { AttachTarget::from_raw(dev, ptr::null_mut(), ptr::null_mut()) };
            D::release_device(&target);
        }
        // SAFETY: `probe_device` has stored a pointer from `Arc::into_raw`. The core does not use
        // the pointer again, and `target`, which borrowed the endpoint, is gone.
        drop(unsafe { Arc::from_raw(bindings::dev_iommu_priv_get(dev).cast::<D::Endpoint>()) });
        // SAFETY: `probe_device` has counted the device, and set the device's `iommu_dev`.
        unsafe { device::count_released::<D>((*(*dev).iommu).iommu_dev) };
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `device_group` only.
    #[cfg(CONFIG_PCI)]
    unsafe extern "C" fn device_group(dev: *mut bindings::device) -> *mut bindings::iommu_group {
        // SAFETY: The core passes a valid device that it is about to put into a group, as these
        // functions demand.
        unsafe {
            if bindings::dev_is_pci(dev) {
                bindings::pci_device_group(dev)
            } else {
                bindings::generic_device_group(dev)
            }
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `probe_finalize` only.
    unsafe extern "C" fn probe_finalize(dev: *mut bindings::device) {
        // SAFETY: The core calls this only for devices that were probed and not released.
        D::probe_finalize(&unsafe { Probed::from_raw(dev) });
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `def_domain_type` only.
    unsafe extern "C" fn def_domain_type(dev: *mut bindings::device) -> c_int {
        // SAFETY: The core asks only about devices that were probed and not released.
        let kind = match D::default_domain(&unsafe { Probed::from_raw(dev) }) {
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
        // SAFETY: The core asks only about devices that were probed and not released.
        D::first_attach(&unsafe { Probed::from_raw(dev) }) == FirstAttach::WhenUsed
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `get_resv_regions` only.
    unsafe extern "C" fn get_resv_regions(
        dev: *mut bindings::device,
        head: *mut bindings::list_head,
    ) {
        // SAFETY: The core asks only about devices that were probed and not released. The list is
        // valid, and nobody else uses it meanwhile.
        let (device, mut regions) =
            unsafe { (Probed::from_raw(dev), ReservedRegions::from_raw(head)) };
        if D::reserved_regions(&device, &mut regions).is_err() {
            dev_err!(
                device.dev(),
                "IOMMU: no memory for the list of reserved regions\n"
            );
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `of_xlate` only.
    unsafe extern "C" fn of_xlate(
        dev: *mut bindings::device,
        args: *const bindings::of_phandle_args,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The core passes valid arguments, and a valid device, whose description it
            // has begun and which was not probed yet.
            let (mut description, args) =
                unsafe { (Description::from_raw(dev), PhandleArgs::from_raw(args)) };
            D::of_xlate(&mut description, args)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `page_response` only.
    unsafe extern "C" fn page_response(
        dev: *mut bindings::device,
        _event: *mut bindings::iopf_fault,
        message: *mut bindings::iommu_page_response,
    ) {
        // SAFETY: The core responds only to devices that were probed and not released. The message
        // is valid.
        let (device, response) =
            unsafe { (Probed::from_raw(dev), PageResponse::from_raw(message)) };
        D::page_response(&device, response);
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `domain_alloc_paging` only.
    unsafe extern "C" fn domain_alloc_paging(
        dev: *mut bindings::device,
    ) -> *mut bindings::iommu_domain {
        // SAFETY: The core allocates domains only for devices that were probed and not released.
        let device = unsafe { Probed::from_raw(dev) };
        D::alloc_domain(&device).map_or_else(Error::to_ptr, NewDomain::into_raw)
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `domain_alloc_paging_flags` only.
    unsafe extern "C" fn domain_alloc_paging_flags(
        dev: *mut bindings::device,
        flags: u32,
        user_data: *const bindings::iommu_user_data,
    ) -> *mut bindings::iommu_domain {
        if !user_data.is_null() {
            return EOPNOTSUPP.to_ptr();
        }
        // SAFETY: The core allocates domains only for devices that were probed and not released.
        let device = unsafe { Probed::from_raw(dev) };
        D::alloc_domain_with(&device, AllocFlags::from_raw(flags))
            .map_or_else(Error::to_ptr, NewDomain::into_raw)
    }
}
