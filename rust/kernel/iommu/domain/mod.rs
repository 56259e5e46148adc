// SPDX-License-Identifier: GPL-2.0

//! Domains: what decides where a device's DMA goes.
//!
//! - [`StaticDomain`]: the identity or the blocking domain. One `static` serves all devices.
//! - [`PagingDomain`], in a [`SelfMapped`]: an allocated domain whose driver maps and unmaps by
//!   itself.
//! - [`pt::Paging`](super::pt::Paging): an allocated domain with a generic page table.
//!
//! The driver's part of an allocated domain is pinned, so that it can hold locks and lists.
//!
//! # Examples
//!
//! ```
//! use kernel::iommu::domain::Prot;
//!
//! let prot = Prot::READ.with(Prot::NOEXEC);
//! assert!(prot.contains(Prot::READ));
//! assert!(!prot.contains(Prot::READ.with(Prot::WRITE)));
//! assert!(prot.contains(Prot::NONE));
//! ```
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    driver::Driver,
    probed::AttachTarget, //
};
use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_int,
    prelude::*, //
};
use core::{
    any::TypeId,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

mod fixed;
mod self_mapped;

pub use fixed::{
    StaticDomain,
    StaticDomainOps,
    StaticKind, //
};
pub use self_mapped::{
    Config,
    Mapped,
    Mapping,
    PagingDomain,
    Prot,
    SelfMapped,
    Unmapping, //
};

/// A Process Address Space ID. A device may use several address spaces at a time; the PASID tells
/// them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pasid(u32);

impl Pasid {
    pub(super) const fn from_raw(pasid: u32) -> Pasid {
        Pasid(pasid)
    }

    /// The number: 1 to 2^20 - 1, or 0 where there is no PASID.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// What a driver does for an allocated domain of any kind.
#[vtable]
pub trait Domain: Sized + Send + Sync + 'static {
    /// The driver that allocates the domain.
    type Driver: Driver;

    /// Puts the device into the domain, in place of the one it is in.
    ///
    /// Context: may sleep; the core serialises this for devices of one group.
    ///
    /// # Errors
    ///
    /// The device must then be in the domain that it was in before. [`EINVAL`] says that this
    /// device does not fit this domain; the driver must not log it.
    fn attach(&self, target: &AttachTarget<'_, Self::Driver>) -> Result;

    /// Puts the DMA of the device with this PASID through the domain, in place of its former
    /// domain.
    ///
    /// Context: may sleep; the core serialises this for devices of one group.
    ///
    /// # Errors
    ///
    /// The DMA must then go through the former domain.
    fn set_pasid(&self, _target: &AttachTarget<'_, Self::Driver>, _pasid: Pasid) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Drops everything that the IOMMU caches of the domain. The caller frees memory right after
    /// this. If the IOMMU cannot be made to flush, the driver must keep devices from using the
    /// domain.
    ///
    /// Context: any, interrupts on or off.
    fn flush_all(&self);

    /// Makes all DMA through the domain coherent, whatever the devices ask for, and for as long as
    /// the domain lives. Returns whether that was possible.
    ///
    /// Context: may sleep.
    fn enforce_cache_coherency(&self) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The memory of a domain, which holds the core's part and the driver's part: [`SelfMapped`] or
/// [`pt::Paging`](super::pt::Paging).
///
/// # Safety
///
/// [`Self::data`] must return the driver's part for every domain whose ops are those in
/// [`Self::OPS`]. These must be made by `ops_of` for this very container.
pub unsafe trait Container: Sized + 'static {
    /// The driver's part.
    type Data: Domain;

    /// The domain's operations.
    #[doc(hidden)]
    const OPS: &'static DomainOps;

    /// # Safety
    ///
    /// The ops of `domain` must be those in [`Self::OPS`], and the domain must not be freed during
    /// `'a`.
    #[doc(hidden)]
    unsafe fn data<'a>(domain: *mut bindings::iommu_domain) -> &'a Self::Data;
}

/// The operations of a container's domains.
#[doc(hidden)]
#[repr(C)]
pub struct DomainOps {
    raw: bindings::iommu_domain_ops,
    /// Answers differently for each container. So the compiler cannot give the operations of two
    /// containers one place in memory, as it may do with equal constants and equal functions.
    container: fn() -> TypeId,
}

impl DomainOps {
    /// What the core is given.
    pub(super) const fn as_raw(&'static self) -> &'static bindings::iommu_domain_ops {
        &self.raw
    }
}

/// The operations of the container `C`: `raw`, which began as [`common_ops`].
pub(super) const fn ops_of<C: Container>(raw: bindings::iommu_domain_ops) -> DomainOps {
    DomainOps {
        raw,
        container: TypeId::of::<C>,
    }
}

/// The operations that all containers have in common.
pub(super) const fn common_ops<C: Container>() -> bindings::iommu_domain_ops {
    let mut ops: bindings::iommu_domain_ops = pin_init::zeroed();
    ops.attach_dev = Some(attach_dev::<C>);
    ops.flush_iotlb_all = Some(flush_iotlb_all::<C>);
    if C::Data::HAS_SET_PASID {
        ops.set_dev_pasid = Some(set_dev_pasid::<C>);
    }
    if C::Data::HAS_ENFORCE_CACHE_COHERENCY {
        ops.enforce_cache_coherency = Some(enforce_cache_coherency::<C>);
    }
    ops
}

/// # Safety
///
/// To be called by the IOMMU core as `attach_dev` of [`Container::OPS`] only.
unsafe extern "C" fn attach_dev<C: Container>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    old: *mut bindings::iommu_domain,
) -> c_int {
    from_result(|| {
        // SAFETY: The core calls this for a domain with these ops, which it does not free
        // meanwhile. It attaches only devices that the domain's driver has probed and not released,
        // and serialises their attaches. Both domains are valid for the call; `old` may be null.
        let (target, data) = unsafe { (AttachTarget::from_raw(dev, domain, old), C::data(domain)) };
        data.attach(&target)?;
        Ok(0)
    })
}

/// # Safety
///
/// To be called by the IOMMU core as `set_dev_pasid` of [`Container::OPS`] only.
unsafe extern "C" fn set_dev_pasid<C: Container>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    old: *mut bindings::iommu_domain,
) -> c_int {
    from_result(|| {
        // SAFETY: As in `attach_dev`.
        let (target, data) = unsafe { (AttachTarget::from_raw(dev, domain, old), C::data(domain)) };
        data.set_pasid(&target, Pasid::from_raw(pasid))?;
        Ok(0)
    })
}

/// # Safety
///
/// To be called by the IOMMU core as `flush_iotlb_all` of [`Container::OPS`] only.
unsafe extern "C" fn flush_iotlb_all<C: Container>(domain: *mut bindings::iommu_domain) {
    // SAFETY: The core calls this for a domain with these ops, and does not free it meanwhile.
    unsafe { C::data(domain) }.flush_all();
}

/// # Safety
///
/// To be called by the IOMMU core as `enforce_cache_coherency` of [`Container::OPS`] only.
unsafe extern "C" fn enforce_cache_coherency<C: Container>(
    domain: *mut bindings::iommu_domain,
) -> bool {
    // SAFETY: The core calls this for a domain with these ops, and does not free it meanwhile.
    unsafe { C::data(domain) }.enforce_cache_coherency()
}

/// A domain that was not handed to the core yet. Dropping it releases the domain.
///
/// # Invariants
///
/// `domain` is one of a [`Container`] whose data's driver is `D`, and nobody else has it.
pub struct NewDomain<D: Driver> {
    domain: NonNull<bindings::iommu_domain>,
    _driver: PhantomData<D>,
}

impl<D: Driver> NewDomain<D> {
    /// # Safety
    ///
    /// `domain` must be one of a [`Container`] whose data's driver is `D`, and nobody else may have
    /// it.
    pub(super) unsafe fn from_raw(domain: NonNull<bindings::iommu_domain>) -> NewDomain<D> {
        // INVARIANT: The caller promises this.
        NewDomain {
            domain,
            _driver: PhantomData,
        }
    }

    /// Hands the domain to the core, which frees it by the `free` of its ops.
    pub(super) fn into_raw(self) -> *mut bindings::iommu_domain {
        ManuallyDrop::new(self).domain.as_ptr()
    }

    /// The domain, for tests that use it as the core would.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(super) fn as_raw(&self) -> *mut bindings::iommu_domain {
        self.domain.as_ptr()
    }
}

impl<D: Driver> Drop for NewDomain<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the domain is valid, its ops are a container's, and nobody
        // else has it. So it may be freed.
        unsafe {
            let domain = self.domain.as_ptr();
            if let Some(free) = (*(*domain).ops).free {
                free(domain);
            }
        }
    }
}

/// What a domain does with DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainKind {
    /// DMA addresses are physical addresses.
    Identity,
    /// No DMA gets through.
    Blocking,
    /// DMA goes through what is mapped.
    Paging,
    /// Something else.
    Other,
}

/// A domain that the core refers to. It is one of this driver's, as all domains of a device are.
#[derive(Clone, Copy)]
pub struct DomainRef<'a> {
    domain: NonNull<bindings::iommu_domain>,
    _domain: PhantomData<&'a bindings::iommu_domain>,
}

impl<'a> DomainRef<'a> {
    /// # Safety
    ///
    /// `domain` must be valid for `'a`, or null.
    pub(super) unsafe fn from_raw(domain: *mut bindings::iommu_domain) -> Option<DomainRef<'a>> {
        NonNull::new(domain).map(|domain| DomainRef {
            domain,
            _domain: PhantomData,
        })
    }

    pub(super) fn as_raw(&self) -> *mut bindings::iommu_domain {
        self.domain.as_ptr()
    }

    /// What the domain does.
    pub fn kind(&self) -> DomainKind {
        // SAFETY: The domain is valid for `'a`, and its type does not change.
        match unsafe { (*self.domain.as_ptr()).type_ } {
            bindings::IOMMU_DOMAIN_IDENTITY => DomainKind::Identity,
            bindings::IOMMU_DOMAIN_BLOCKED => DomainKind::Blocking,
            bindings::IOMMU_DOMAIN_DMA
            | bindings::IOMMU_DOMAIN_DMA_FQ
            | bindings::IOMMU_DOMAIN_UNMANAGED => DomainKind::Paging,
            _ => DomainKind::Other,
        }
    }

    /// Whether the core uses the domain for the DMA API, and so for drivers of the kernel.
    pub fn serves_dma_api(&self) -> bool {
        // SAFETY: The domain is valid for `'a`. The bit does not change.
        unsafe { (*self.domain.as_ptr()).type_ & bindings::__IOMMU_DOMAIN_DMA_API != 0 }
    }

    /// The driver's part of the domain, if the domain is a `C`: a [`SelfMapped`] or a
    /// [`pt::Paging`](super::pt::Paging).
    pub fn data<C: Container>(&self) -> Option<&'a C::Data> {
        let domain = self.domain.as_ptr();
        // SAFETY: The domain is valid for `'a`, and its ops do not change. Only domains of `C` have
        // these ops: the ops of two containers differ in `container`, so they are at different
        // addresses.
        unsafe { core::ptr::eq((*domain).ops, C::OPS.as_raw()).then(|| C::data(domain)) }
    }
}
