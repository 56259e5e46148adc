// SPDX-License-Identifier: GPL-2.0

//! What an IOMMU driver implements.
//!
//! A driver is a type without values that implements [`Driver`]. For each IOMMU it has a
//! [`Registration`], which holds data of the driver's own, the *instance*. For each device behind
//! one of its IOMMUs it has an *endpoint*. Every callback gets both in a [`Probed`].
//!
//! # Whom the kernel trusts
//!
//! The compiler cannot see whether a driver tells the truth about its IOMMU. When a driver says
//! that a domain was flushed, the kernel frees memory. If the IOMMU was not flushed, devices still
//! write to that memory. So a [`Registration`] takes only a driver that implements [`SoundDriver`],
//! which is an `unsafe` promise. The callbacks need no `unsafe`.
//!
//! # Locks
//!
//! The core calls [`probe_device`](Driver::probe_device) and what follows it for a device under one
//! global mutex. It makes all changes of a group's translation under the group's mutex. Flushes,
//! maps and unmaps come in any context, and several at a time, but never two for the same IOVA.
//!
//! # Examples
//!
//! A driver that tells devices apart by the ids that firmware gives them:
//!
//! ```
//! use kernel::{
//!     iommu::{
//!         domain::NewDomain,
//!         driver::{
//!             Driver,
//!             Grouping, //
//!         },
//!         probed::{
//!             Probed,
//!             Probing, //
//!         }, //
//!     },
//!     sync::Arc, //
//! };
//!
//! struct Endpoint {
//!     id: u32,
//! }
//!
//! struct MyIommu;
//!
//! #[vtable]
//! impl Driver for MyIommu {
//!     type Instance = ();
//!     type Endpoint = Endpoint;
//!
//!     const GROUPING: Grouping = Grouping::ByBus;
//!
//!     fn probe_device(_instance: &(), device: &Probing<'_>) -> Result<Arc<Endpoint>> {
//!         let id = *device.ids().first().ok_or(ENODEV)?;
//!         Ok(Arc::new(Endpoint { id }, GFP_KERNEL)?)
//!     }
//!
//!     fn alloc_domain(device: &Probed<'_, Self>) -> Result<NewDomain<Self>> {
//!         dev_info!(device.dev(), "{}: wants a domain\n", device.endpoint().id);
//!         // Here a driver makes one, as `domain` and `pt` show.
//!         Err(ENOMEM)
//!     }
//! }
//!
//! // What the driver leaves out is a null pointer in the C structure.
//! assert!(MyIommu::HAS_ALLOC_DOMAIN);
//! assert!(!MyIommu::HAS_PAGE_RESPONSE);
//! ```
//!
//! [`Registration`]: super::device::Registration
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    domain::NewDomain,
    fault::PageResponse,
    fwspec::{
        Description,
        PhandleArgs, //
    },
    hw_info::{
        HwInfo,
        HwInfoKind, //
    },
    probed::{
        AttachTarget,
        Probed,
        Probing, //
    },
    resv::ReservedRegions, //
};
use crate::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    sync::Arc, //
};

/// A capability that the core asks a driver about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capability(pub(super) bindings::iommu_cap);

impl Capability {
    /// DMA can be made coherent with the CPUs' caches.
    pub const CACHE_COHERENCY: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_CACHE_COHERENCY);
    /// Mappings can forbid execution.
    pub const NOEXEC: Capability = Capability(bindings::iommu_cap::IOMMU_CAP_NOEXEC);
    /// Firmware has used the IOMMU to protect memory from devices, so the kernel should, too.
    pub const PRE_BOOT_PROTECTION: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_PRE_BOOT_PROTECTION);
    /// All DMA of the device can be forced to be coherent.
    pub const ENFORCE_CACHE_COHERENCY: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_ENFORCE_CACHE_COHERENCY);
    /// Unmapped pages may be flushed later. Without this the core flushes at each unmap.
    pub const DEFERRED_FLUSH: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_DEFERRED_FLUSH);
    /// The IOMMU notes which pages were written.
    pub const DIRTY_TRACKING: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_DIRTY_TRACKING);
    /// The device may use PCI's Address Translation Services.
    pub const PCI_ATS_SUPPORTED: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_PCI_ATS_SUPPORTED);
}

/// How devices are sorted into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By PCI topology and access control. All devices must be PCI devices.
    Pci,
    /// PCI devices by topology and access control, each other device by itself.
    ByBus,
    /// Each device by itself.
    PerDevice,
    /// All devices behind one IOMMU together.
    PerInstance,
}

/// The answer of [`Driver::default_domain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultDomain {
    /// The one that the system's policy says.
    Any,
    /// A translating domain, whatever the system's policy says.
    Translating,
    /// The identity domain, whatever the system's policy says.
    Identity,
}

/// The answer of [`Driver::first_attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstAttach {
    /// A new device is attached to its default domain.
    AtOnce,
    /// A new device stays as it is until somebody maps memory for it, or user space gets it.
    WhenUsed,
}

/// What user space wants of a new domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocFlags(u32);

impl AllocFlags {
    /// Nothing in particular.
    pub const NONE: AllocFlags = AllocFlags(0);
    /// Another domain will be nested in the domain.
    pub const NEST_PARENT: AllocFlags =
        AllocFlags(bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_NEST_PARENT);
    /// The domain notes which pages were written.
    pub const DIRTY_TRACKING: AllocFlags =
        AllocFlags(bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
    /// The domain will be used with PASIDs.
    pub const PASID: AllocFlags =
        AllocFlags(bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID);

    pub(super) const fn from_raw(flags: u32) -> AllocFlags {
        AllocFlags(flags)
    }

    /// Whether all of `other` is wanted.
    pub const fn contains(self, other: AllocFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is wanted besides `other`. A driver refuses what it does not know.
    pub const fn without(self, other: AllocFlags) -> AllocFlags {
        AllocFlags(self.0 & !other.0)
    }
}

/// An IOMMU driver.
///
/// The C structure has null pointers for the methods that a driver leaves out.
#[vtable]
pub trait Driver: Sized + 'static {
    /// What the driver keeps for each IOMMU. It lives until the last device behind the IOMMU is
    /// released.
    type Instance: Send + Sync + 'static;

    /// What the driver keeps for each device.
    type Endpoint: Send + Sync + 'static;

    /// How devices are grouped.
    const GROUPING: Grouping;

    /// Decides whether a new device is behind the IOMMU of this instance. If the device has a
    /// firmware node for its IOMMU, that node is the instance's.
    ///
    /// Context: may sleep; calls are serialised.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device is not behind this IOMMU. After any error the device does DMA
    /// *untranslated*. So a driver must succeed here for a device that is behind its IOMMU, even if
    /// it cannot serve the device. Such a driver answers [`DefaultDomain::Translating`], and fails
    /// [`Driver::alloc_domain`]: the core then puts the device into the blocking domain and lets go
    /// of it. A failing attach does the same, with a warning.
    fn probe_device(instance: &Self::Instance, device: &Probing<'_>)
        -> Result<Arc<Self::Endpoint>>;

    /// Allocates a domain that the device could be attached to.
    ///
    /// Context: may sleep; not serialised.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or whatever error prevents it.
    fn alloc_domain(_device: &Probed<'_, Self>) -> Result<NewDomain<Self>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// As [`Self::alloc_domain`], for a driver that knows some of the flags. A driver has one of
    /// the two.
    ///
    /// Context: may sleep; not serialised.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] for flags that the driver does not know; else as [`Self::alloc_domain`].
    fn alloc_domain_with(
        _device: &Probed<'_, Self>,
        _flags: AllocFlags,
    ) -> Result<NewDomain<Self>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Releases a device that goes away.
    ///
    /// If the driver has a blocking domain by
    /// [`Ops::with_blocking`](super::ops::Ops::with_blocking), the device usually is in that
    /// domain. It is in no domain yet if its probing failed, or if its first attach was left for
    /// later. Without such a blocking domain it is where it was. Unless it is in the blocking
    /// domain, the driver must block it here.
    ///
    /// Context: may sleep.
    fn release_device(_target: &AttachTarget<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the device is in its group, and in that group's domain.
    ///
    /// Context: may sleep; no lock is held.
    fn probe_finalize(_device: &Probed<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether DMA of a device can have the capability.
    ///
    /// Context: any.
    fn capable(_device: &Probed<'_, Self>, _capability: Capability) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What user space is told about the hardware. `asked` is the kind that user space wants;
    /// [`HwInfoKind::DEFAULT`] stands for the driver's own kind.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] for a kind that the driver does not have; [`ENOMEM`].
    fn hw_info(_device: &Probed<'_, Self>, _asked: HwInfoKind) -> Result<HwInfo> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Which default domain the device may have.
    ///
    /// Context: may sleep.
    fn default_domain(_device: &Probed<'_, Self>) -> DefaultDomain {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// When a new device is attached for the first time.
    ///
    /// The core honours [`FirstAttach::WhenUsed`] only in kernels that run after a crash, and only
    /// with a translating default domain. In other kernels the driver must answer
    /// [`FirstAttach::AtOnce`].
    ///
    /// Context: may sleep; called once, after [`Driver::probe_device`].
    fn first_attach(_device: &Probed<'_, Self>) -> FirstAttach {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds the IOVAs that must not be used for the device.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. The core cannot handle it, and goes on with what was added.
    fn reserved_regions(_device: &Probed<'_, Self>, _regions: &mut ReservedRegions) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the firmware's description of a device names this driver's IOMMU, with these
    /// arguments. The driver adds the ids in them to the description.
    ///
    /// Context: may sleep; the device is not probed yet.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the arguments make no sense.
    fn of_xlate(_description: &mut Description<'_>, _args: &PhandleArgs) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the device the answer to a page request.
    ///
    /// Context: may sleep.
    fn page_response(_device: &Probed<'_, Self>, _response: &PageResponse) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A driver that the kernel may rely on.
///
/// # Safety
///
/// The following must hold for the driver, and for each domain type that names the driver as
/// [`Domain::Driver`](super::domain::Domain::Driver) or
/// [`StaticDomainOps::Driver`](super::domain::StaticDomainOps::Driver):
///
/// - When an attach succeeds, or `release_device` returns, the IOMMU no longer uses the former
///   domain of the device for that device's DMA. When an attach fails, the IOMMU does not use the
///   new domain for it. Devices that the IOMMU cannot tell apart are in one group; for these this
///   holds when all of them have been attached, or released.
/// - The same holds for the attach of a PASID, and the DMA with that PASID.
/// - In the blocking domain no DMA of the device reaches memory.
/// - The IOMMU is told only of tables of domains that are alive, and of tables of the driver's own.
///   When a domain's `release` says that its memory may be freed, the IOMMU no longer uses anything
///   of the domain, and caches nothing of it.
/// - When `flush_all` of a domain returns, the IOMMU caches no translation of the domain that was
///   not in force when the flush began, or it lets no device use the domain.
/// - When `flush` of a domain says that it has flushed, the IOMMU caches nothing that the gathered
///   range held before. This includes entries that point at tables.
/// - A domain that maps by itself lets a device reach what is mapped, and nothing else. What was
///   unmapped is out of reach when the flush of its gather, or of the whole domain, returns.
/// - If the `init` of the driver's module fails, no device is behind an IOMMU that `init` has
///   registered.
/// - When `release_device` returns, or `probe_device` fails, the driver no longer reaches the
///   registers or the bus of the PCI function that it has from [`Probing`], and its `Ats` of the
///   function is gone. Until then it makes one `Ats` at most, and calls `bus_master::stop` only in
///   callbacks that change the device's translation, or with the device's lock held.
pub unsafe trait SoundDriver: Driver {}
