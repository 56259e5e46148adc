// SPDX-License-Identifier: GPL-2.0

//! The identity and the blocking domain.

use super::Pasid;
use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_int,
    iommu::{
        driver::Driver,
        probed::AttachTarget, //
    },
    prelude::*,
    types::Opaque, //
};
use core::marker::PhantomData;

/// The two kinds of domains that need no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticKind {
    /// DMA addresses are physical addresses.
    Identity,
    /// No DMA gets through.
    Blocking,
}

/// What a driver does for a static domain.
#[vtable]
pub trait StaticDomainOps: 'static {
    /// The driver whose devices the domain takes.
    type Driver: Driver;

    /// Which of the two the domain is.
    const KIND: StaticKind;

    /// Puts the device into the domain.
    ///
    /// Context: may sleep; the core serialises this for devices of one group.
    ///
    /// # Errors
    ///
    /// The device must then be where it was before. Attaching to the blocking domain should never
    /// fail, as the core has nothing to fall back to.
    fn attach(target: &AttachTarget<'_, Self::Driver>) -> Result;

    /// Puts the DMA of the device with this PASID through the domain. The core uses this to take a
    /// PASID out of its former domain, [`AttachTarget::old`].
    ///
    /// Context: may sleep; the core serialises this for devices of one group.
    ///
    /// # Errors
    ///
    /// As [`Self::attach`].
    fn set_pasid(_target: &AttachTarget<'_, Self::Driver>, _pasid: Pasid) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A domain without a table, for a `static`.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     domain::{
///         StaticDomainOps,
///         StaticKind, //
///     },
///     driver::Driver,
///     probed::AttachTarget, //
/// };
/// # use core::marker::PhantomData;
///
/// /// The identity domain of an IOMMU that translates nothing until it is told to.
/// struct Identity<D>(PhantomData<D>);
///
/// #[vtable]
/// impl<D: Driver> StaticDomainOps for Identity<D> {
///     type Driver = D;
///
///     const KIND: StaticKind = StaticKind::Identity;
///
///     fn attach(target: &AttachTarget<'_, D>) -> Result {
///         dev_info!(target.dev(), "is not translated\n");
///         Ok(())
///     }
/// }
/// ```
pub struct StaticDomain<S: StaticDomainOps> {
    raw: Opaque<bindings::iommu_domain>,
    _ops: PhantomData<fn() -> S>,
}

// SAFETY: The core treats static domains as read-only.
unsafe impl<S: StaticDomainOps> Sync for StaticDomain<S> {}
// SAFETY: A domain is not bound to a thread.
unsafe impl<S: StaticDomainOps> Send for StaticDomain<S> {}

impl<S: StaticDomainOps> StaticDomain<S> {
    const OPS: bindings::iommu_domain_ops = {
        let mut ops: bindings::iommu_domain_ops = pin_init::zeroed();
        ops.attach_dev = Some(Self::attach_dev);
        if S::HAS_SET_PASID {
            ops.set_dev_pasid = Some(Self::set_dev_pasid);
        }
        ops
    };

    /// The domain, for a `static`.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> StaticDomain<S> {
        // SAFETY: All-zero bytes are a valid `struct iommu_domain`, which holds integers, a C bool
        // and pointers that may be null.
        let mut raw: bindings::iommu_domain = unsafe { core::mem::zeroed() };
        raw.type_ = match S::KIND {
            StaticKind::Identity => bindings::IOMMU_DOMAIN_IDENTITY,
            StaticKind::Blocking => bindings::IOMMU_DOMAIN_BLOCKED,
        };
        raw.ops = &Self::OPS;
        StaticDomain {
            raw: Opaque::new(raw),
            _ops: PhantomData,
        }
    }

    pub(in crate::iommu) const fn as_raw(&'static self) -> *mut bindings::iommu_domain {
        self.raw.get()
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `attach_dev` only.
    unsafe extern "C" fn attach_dev(
        domain: *mut bindings::iommu_domain,
        dev: *mut bindings::device,
        old: *mut bindings::iommu_domain,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The core attaches only devices that `S::Driver` has probed and not released,
            // and serialises their attaches. Both domains are valid for the call; `old` may be
            // null.
            let target = unsafe { AttachTarget::from_raw(dev, domain, old) };
            S::attach(&target)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `set_dev_pasid` only.
    unsafe extern "C" fn set_dev_pasid(
        domain: *mut bindings::iommu_domain,
        dev: *mut bindings::device,
        pasid: bindings::ioasid_t,
        old: *mut bindings::iommu_domain,
    ) -> c_int {
        from_result(|| {
            // SAFETY: As in `attach_dev`.
            let target = unsafe { AttachTarget::from_raw(dev, domain, old) };
            S::set_pasid(&target, Pasid::from_raw(pasid))?;
            Ok(0)
        })
    }
}
