// SPDX-License-Identifier: GPL-2.0

//! What an IOMMU driver implements.
//!
//! A driver is a type without values that implements [`Driver`]. It has a [`Registration`] for each
//! IOMMU, with data of the driver's own, its *instance*; and for each device behind one of these
//! IOMMUs an *endpoint*. Every callback is handed both, in a [`Probed`].
//!
//! # Whom the kernel trusts
//!
//! Nothing that the compiler can see ties an IOMMU to what its driver says of it. When a domain
//! says that it was flushed, memory is freed; when the IOMMU was not flushed, devices write into
//! that memory. So a driver takes effect only with one promise more, [`SoundDriver`], which is
//! `unsafe` to make. The callbacks themselves are written without `unsafe`.
//!
//! # Locks
//!
//! The core calls [`probe_device`](Driver::probe_device) and what follows it for a device under one
//! global mutex, and all changes of one group's translation under the group's mutex. Flushes, maps
//! and unmaps come in any context, several at a time; never two for one IOVA.
//!
//! [`Registration`]: super::device::Registration
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    domain::NewDomain,
    fault::PageResponse,
    fwspec::PhandleArgs,
    hw_info::{
        HwInfo,
        HwInfoKind, //
    },
    probed::{
        AttachTarget,
        Probed, //
    },
    resv::ReservedRegions, //
};
use crate::{
    bindings,
    device,
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
    /// Firmware has used the IOMMU for protection, and the kernel should.
    pub const PRE_BOOT_PROTECTION: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_PRE_BOOT_PROTECTION);
    /// All DMA of the device can be forced to be coherent.
    pub const ENFORCE_CACHE_COHERENCY: Capability =
        Capability(bindings::iommu_cap::IOMMU_CAP_ENFORCE_CACHE_COHERENCY);
    /// Unmapped pages may be flushed later; without it the core flushes at each unmap.
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
    /// By PCI topology and access control. All devices are PCI's.
    Pci,
    /// PCI's devices in that way, and others each by itself.
    ByBus,
    /// Each device by itself.
    PerDevice,
    /// All devices behind one IOMMU together.
    PerInstance,
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

/// What user space wants of a new domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocFlags(u32);

impl AllocFlags {
    /// Nothing in particular.
    pub const NONE: AllocFlags = AllocFlags(0);
    /// Another domain will be nested in it.
    pub const NEST_PARENT: AllocFlags =
        AllocFlags(bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_NEST_PARENT);
    /// It notes which pages were written.
    pub const DIRTY_TRACKING: AllocFlags =
        AllocFlags(bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
    /// It will be used with PASIDs.
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
/// What a driver leaves out is absent from the C structure, too.
#[vtable]
pub trait Driver: Sized + 'static {
    /// What the driver keeps for each IOMMU. It lives until the last device behind that is
    /// released.
    type Instance: Send + Sync + 'static;

    /// What the driver keeps for each device.
    type Endpoint: Send + Sync + 'static;

    /// How devices are grouped.
    const GROUPING: Grouping;

    /// A device has appeared whose firmware node, if it has one, names the instance. Is it behind
    /// this IOMMU?
    ///
    /// Context: may sleep; calls are serialised.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: not ours. With any error the device does DMA *untranslated*: when it is ours but
    /// cannot be served, succeed here, answer [`DefaultDomain::Translating`] and fail
    /// [`Driver::alloc_domain`]: the core then puts it into the blocking domain and lets go of it.
    /// A failing attach does the same, with a warning.
    fn probe_device(instance: &Self::Instance, dev: &device::Device)
        -> Result<Arc<Self::Endpoint>>;

    /// Allocates a domain that the device could be attached to.
    ///
    /// Context: may sleep; not serialised.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what prevents it.
    fn alloc_domain(_device: &Probed<'_, Self>) -> Result<NewDomain<Self>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// As [`Self::alloc_domain`], for a driver that knows some of the flags; in place of it.
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

    /// The device goes: it is in the blocking domain, when the driver has one by
    /// [`Ops::with_blocking`](super::ops::Ops::with_blocking). Or it is in no domain yet, as its
    /// probing failed later on, or as its first attach was left for later. Or it is where it was.
    /// In the latter cases it is to be blocked.
    ///
    /// Context: may sleep.
    fn release_device(_target: &AttachTarget<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device is in its group and in that group's domain.
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

    /// What user space is told about the hardware, of a kind that it asked for, or of the driver's
    /// own when it asked for none.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] for another kind; [`ENOMEM`].
    fn hw_info(_device: &Probed<'_, Self>, _asked: HwInfoKind) -> Result<HwInfo> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Which default domain the device can have.
    ///
    /// Context: may sleep.
    fn default_domain(_device: &Probed<'_, Self>) -> DefaultDomain {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// When a new device is attached for the first time.
    ///
    /// The core honours [`FirstAttach::WhenUsed`] in kernels that run after a crash, and only with
    /// a translating default domain: in others the driver must answer [`FirstAttach::AtOnce`].
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
    /// [`ENOMEM`]; the core cannot be told, and goes on with what was added.
    fn reserved_regions(_device: &Probed<'_, Self>, _regions: &mut ReservedRegions) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The firmware's description of a device names this driver's IOMMU, with these arguments. The
    /// driver adds the ids in them to the device's [`fwspec`](super::fwspec).
    ///
    /// Context: may sleep; the device is not probed yet.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the arguments make no sense.
    fn of_xlate(_dev: &device::Device, _args: &PhandleArgs) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The answer to a page request of the device.
    ///
    /// Context: may sleep.
    fn page_response(_device: &Probed<'_, Self>, _response: &PageResponse) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A driver whose word can be relied upon.
///
/// # Safety
///
/// For the driver, and for each domain type whose [`Domain::Driver`](super::domain::Domain::Driver)
/// or [`StaticDomainOps::Driver`](super::domain::StaticDomainOps::Driver) it is:
///
/// - When an attach succeeds, or `release_device` returns, the IOMMU no longer uses the domain that
///   the device was in for that device's DMA, from that moment on. When an attach fails, the IOMMU
///   does not use the new domain for it. Where the IOMMU cannot tell the device from others, which
///   are in its group then, this holds when all of them have been attached, or released.
/// - The same for an attach of a PASID, and that PASID's DMA.
/// - In the blocking domain no DMA of the device reaches memory.
/// - The IOMMU is told of no table but that of a domain that is alive, and of its own; when a
///   domain's `release` says that its memory may be freed, the IOMMU uses nothing of the domain any
///   more, and caches nothing of it.
/// - When `flush_all` of a domain returns, the IOMMU caches no translation of the domain that was
///   not in force when the flush began, or it lets no device use the domain.
/// - When `flush` of a domain says that it has flushed, the IOMMU caches nothing of what the
///   gathered range held before, entries that point at tables included.
/// - A domain that maps by itself lets a device reach what is mapped, and nothing else: what was
///   unmapped is out of reach when the flush of its gather, or of the whole domain, returns.
pub unsafe trait SoundDriver: Driver {}
