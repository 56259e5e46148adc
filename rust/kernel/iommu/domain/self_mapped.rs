// SPDX-License-Identifier: GPL-2.0

//! Domains whose driver maps and unmaps by itself, by calls to a hypervisor or in a table of its
//! own.

use super::{
    common_ops,
    ops_of,
    Container,
    Domain,
    DomainOps,
    DomainRef,
    NewDomain, //
};
use crate::{
    alloc::{
        Flags,
        KBox, //
    },
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_int,
    io::PhysAddr,
    iommu::{
        gather::Gather,
        Iova, //
    },
    prelude::*,
    types::Opaque, //
};
use core::{
    mem::offset_of,
    ops::RangeInclusive,
    ptr::NonNull, //
};

/// What a device may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prot(u32);

impl Prot {
    /// Nothing.
    pub const NONE: Prot = Prot(0);
    /// The device may read.
    pub const READ: Prot = Prot(bindings::IOMMU_READ);
    /// The device may write.
    pub const WRITE: Prot = Prot(bindings::IOMMU_WRITE);
    /// The device's accesses are coherent with the CPUs' caches.
    pub const CACHE: Prot = Prot(bindings::IOMMU_CACHE);
    /// The device may not execute.
    pub const NOEXEC: Prot = Prot(bindings::IOMMU_NOEXEC);
    /// The addresses are registers of another device.
    pub const MMIO: Prot = Prot(bindings::IOMMU_MMIO);
    /// Only privileged accesses of the device may use the mapping.
    pub const PRIVILEGED: Prot = Prot(bindings::IOMMU_PRIV);

    /// Whether all rights of `other` are among these.
    pub const fn contains(self, other: Prot) -> bool {
        self.0 & other.0 == other.0
    }

    /// The rights of both.
    pub const fn with(self, other: Prot) -> Prot {
        Prot(self.0 | other.0)
    }

    pub(in crate::iommu) const fn as_raw(self) -> c_int {
        self.0 as c_int
    }
}

/// Pages to be mapped. They are contiguous in IOVA space and in memory.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// The IOVA of the first byte.
    pub iova: Iova,
    /// The physical address of the first byte.
    pub phys: PhysAddr,
    /// The size of a page in bytes, one of [`Config::page_sizes`].
    pub page_bytes: usize,
    /// How many pages there are, at least one.
    pub pages: usize,
    /// What the device may do with the pages.
    pub prot: Prot,
}

/// Pages to be unmapped.
#[derive(Clone, Copy)]
pub struct Unmapping<'a> {
    /// The domain, for [`Gather::add_pages`].
    pub domain: DomainRef<'a>,
    /// The IOVA of the first byte.
    pub iova: Iova,
    /// The size of a page in bytes, one of [`Config::page_sizes`].
    pub page_bytes: usize,
    /// How many pages there are, at least one.
    pub pages: usize,
}

/// The result of mapping a [`Mapping`].
#[must_use]
#[derive(Debug)]
pub struct Mapped {
    /// How many bytes are mapped, from the first one on. After an error, the core unmaps them.
    pub bytes: usize,
    /// The error, if not all is mapped.
    pub result: Result,
}

/// What a driver does for a domain that it maps by itself.
#[vtable]
pub trait PagingDomain: Domain {
    /// Maps pages. Nothing of the range is mapped yet.
    ///
    /// Context: may sleep if `flags` say so; interrupts may be off otherwise. The core never calls
    /// this twice for one IOVA at a time.
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped;

    /// Makes new mappings take effect, for an IOMMU that caches absent entries.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// Any error; the core then unmaps the range.
    fn sync_map(&self, _iova: Iova, _bytes: usize) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Unmaps pages, all of which are mapped, and adds to `gather` what must be flushed. Returns
    /// how many bytes were unmapped.
    ///
    /// The range may be a part of what one call of [`Self::map`] has mapped.
    ///
    /// Context: any. The core never calls this twice for one IOVA at a time.
    fn unmap(&self, unmapping: &Unmapping<'_>, gather: &mut Gather) -> usize;

    /// Drops what the IOMMU caches of the gathered range. After this, the memory that was mapped
    /// there is used for something else.
    ///
    /// Context: any, interrupts on or off.
    fn flush(&self, _gather: &Gather) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The physical address that a byte is mapped to; [`None`] if it is not mapped.
    ///
    /// Context: any.
    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr>;

    /// Called before the domain is freed. No device is attached to it.
    ///
    /// Context: may sleep.
    fn release(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What the core is told about a domain.
#[derive(Clone, Debug)]
pub struct Config {
    /// The first and the last address that can be mapped.
    pub aperture: RangeInclusive<Iova>,
    /// The page sizes that the driver takes, bit n for 2^n bytes. Not 0.
    pub page_sizes: usize,
}

/// The memory of an allocated domain: the core's part, then the driver's.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     domain::{
///         Config,
///         NewDomain,
///         PagingDomain,
///         SelfMapped, //
///     },
///     Iova, //
/// };
///
/// /// A domain of 40 bits, with pages of 4 KiB and 2 MiB.
/// fn allocate<T: PagingDomain>(own: T) -> Result<NewDomain<T::Driver>> {
///     let config = Config {
///         aperture: Iova::new(0)..=Iova::new((1 << 40) - 1),
///         page_sizes: 0x20_1000,
///     };
///     SelfMapped::allocate(config, own)
/// }
/// ```
#[repr(C)]
pub struct SelfMapped<T: PagingDomain> {
    domain: Opaque<bindings::iommu_domain>,
    data: T,
}

impl<T: PagingDomain> SelfMapped<T> {
    /// Allocates a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if there is no page size; or the initialiser's error.
    pub fn allocate<E>(config: Config, data: impl PinInit<T, E>) -> Result<NewDomain<T::Driver>>
    where
        Error: From<E>,
    {
        const { assert!(offset_of!(Self, domain) == 0) };

        if config.page_sizes == 0 {
            return Err(EINVAL);
        }
        let mut memory = KBox::<Self>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        let this = memory.as_mut_ptr();
        // SAFETY: The place is allocated, has no value yet, and does not move before it is freed.
        // If the initialiser fails, the value is not used.
        unsafe { pin_init::raw_try_init(&raw mut (*this).data, data) }?;
        // SAFETY: Nobody else uses the memory. It is zeroed, which makes a valid
        // `struct iommu_domain`.
        let domain = unsafe { &mut *this.cast::<bindings::iommu_domain>() };
        domain.ops = Self::OPS.as_raw();
        domain.pgsize_bitmap = config.page_sizes;
        domain.geometry.aperture_start = config.aperture.start().as_u64();
        domain.geometry.aperture_end = config.aperture.end().as_u64();
        domain.geometry.force_aperture = true;
        let raw = NonNull::from(domain);
        // Both fields have values now. `free` turns the pointer into a box again.
        let _ = KBox::into_raw(memory);
        // SAFETY: The domain is new, and one of this container.
        Ok(unsafe { NewDomain::from_raw(raw) })
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `map_pages` only.
    unsafe extern "C" fn map_pages(
        domain: *mut bindings::iommu_domain,
        iova: usize,
        phys: bindings::phys_addr_t,
        page_bytes: usize,
        pages: usize,
        prot: c_int,
        gfp: bindings::gfp_t,
        mapped: *mut usize,
    ) -> c_int {
        // SAFETY: Only domains from `allocate` have these ops. The core does not free the domain
        // meanwhile.
        let data = unsafe { <Self as Container>::data(domain) };
        let mapping = Mapping {
            iova: Iova::new(iova as u64),
            phys,
            page_bytes,
            pages,
            prot: Prot(prot as u32),
        };
        let outcome = data.map(&mapping, Flags::from_raw(gfp));
        // SAFETY: The core passes a pointer that is valid for reads and writes.
        unsafe { *mapped += outcome.bytes };
        from_result(|| outcome.result.map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `unmap_pages` only.
    unsafe extern "C" fn unmap_pages(
        domain: *mut bindings::iommu_domain,
        iova: usize,
        page_bytes: usize,
        pages: usize,
        gather: *mut bindings::iommu_iotlb_gather,
    ) -> usize {
        // SAFETY: Only domains from `allocate` have these ops. The core does not free the domain
        // meanwhile, and nobody else uses the gather.
        let (data, gather, Some(domain)) = (unsafe {
            (
                <Self as Container>::data(domain),
                Gather::from_raw(gather),
                DomainRef::from_raw(domain),
            )
        }) else {
            return 0;
        };
        let unmapping = Unmapping {
            domain,
            iova: Iova::new(iova as u64),
            page_bytes,
            pages,
        };
        data.unmap(&unmapping, gather)
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `iotlb_sync_map` only.
    unsafe extern "C" fn iotlb_sync_map(
        domain: *mut bindings::iommu_domain,
        iova: usize,
        bytes: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: Only domains from `allocate` have these ops. The core does not free the
            // domain meanwhile.
            let data = unsafe { <Self as Container>::data(domain) };
            data.sync_map(Iova::new(iova as u64), bytes)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `iotlb_sync` only.
    unsafe extern "C" fn iotlb_sync(
        domain: *mut bindings::iommu_domain,
        gather: *mut bindings::iommu_iotlb_gather,
    ) {
        // SAFETY: Only domains from `allocate` have these ops. The core does not free the domain
        // meanwhile, and nobody else uses the gather.
        let (data, gather) =
            unsafe { (<Self as Container>::data(domain), Gather::from_raw(gather)) };
        data.flush(gather);
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `iova_to_phys` only.
    unsafe extern "C" fn iova_to_phys(
        domain: *mut bindings::iommu_domain,
        iova: bindings::dma_addr_t,
    ) -> bindings::phys_addr_t {
        // SAFETY: Only domains from `allocate` have these ops. The core does not free the domain
        // meanwhile.
        let data = unsafe { <Self as Container>::data(domain) };
        // To the core, 0 means that nothing is mapped.
        data.iova_to_phys(Iova::new(iova)).unwrap_or(0)
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `free` only, once.
    unsafe extern "C" fn free(domain: *mut bindings::iommu_domain) {
        if T::HAS_RELEASE {
            // SAFETY: Only domains from `allocate` have these ops. The domain is freed below.
            unsafe { <Self as Container>::data(domain) }.release();
        }
        // SAFETY: `allocate` has made the pointer from a `KBox` of this type. Nobody else has the
        // domain any more, as the core gives it back here.
        drop(unsafe { KBox::<Self>::from_raw(domain.cast()) });
    }
}

// SAFETY: Only domains from `allocate` have these ops. Each is the first field of a `Self`.
unsafe impl<T: PagingDomain> Container for SelfMapped<T> {
    type Data = T;

    const OPS: &'static DomainOps = &{
        let mut ops = common_ops::<Self>();
        ops.map_pages = Some(Self::map_pages);
        ops.unmap_pages = Some(Self::unmap_pages);
        if T::HAS_SYNC_MAP {
            ops.iotlb_sync_map = Some(Self::iotlb_sync_map);
        }
        if T::HAS_FLUSH {
            ops.iotlb_sync = Some(Self::iotlb_sync);
        }
        ops.iova_to_phys = Some(Self::iova_to_phys);
        ops.free = Some(Self::free);
        ops_of::<Self>(ops)
    };

    unsafe fn data<'a>(domain: *mut bindings::iommu_domain) -> &'a T {
        // SAFETY: By the caller's promise, the domain has these ops, so it is the first field of a
        // `Self`. After `allocate`, the driver's part is accessed by shared references only.
        unsafe { &(*domain.cast::<Self>()).data }
    }
}
