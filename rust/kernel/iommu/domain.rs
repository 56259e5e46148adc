// SPDX-License-Identifier: GPL-2.0

//! Domains: what a device's DMA goes through.
//!
//! - [`StaticDomain`]: the identity or the blocking domain, one object for all devices, `static`.
//! - [`Paging`]: an allocated domain with a generic page table ([`super::pt`]).
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    gather::{
        FlushOutcome,
        Gather, //
    },
    ops::{
        AttachTarget,
        Driver, //
    },
    pt,
    Iova, //
};
use crate::{
    alloc::KBox,
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        ManuallyDrop,
        MaybeUninit, //
    },
};

/// Which of the two translations that need no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticKind {
    /// DMA addresses are physical addresses.
    Identity,
    /// No DMA gets through.
    Blocking,
}

/// What a driver does for a static domain.
pub trait StaticDomainOps: 'static {
    /// The driver whose devices the domain takes.
    type Driver: Driver;

    /// Which static domain this is.
    const KIND: StaticKind;

    /// Puts the device into the domain.
    ///
    /// Context: may sleep; serialised for devices of one group.
    ///
    /// # Errors
    ///
    /// The device must then be as it was before. Attaching to the blocking domain must not fail
    /// short of a defect: the core has nothing left to fall back to.
    fn attach(target: &AttachTarget<'_, Self::Driver>) -> Result;
}

/// A domain without a table, always there.
pub struct StaticDomain<S: StaticDomainOps> {
    raw: Opaque<bindings::iommu_domain>,
    _ops: PhantomData<fn() -> S>,
}

// SAFETY: The core treats static domains as read-only.
unsafe impl<S: StaticDomainOps> Sync for StaticDomain<S> {}
// SAFETY: A domain is not bound to a thread.
unsafe impl<S: StaticDomainOps> Send for StaticDomain<S> {}

impl<S: StaticDomainOps> StaticDomain<S> {
    const OPS: bindings::iommu_domain_ops = bindings::iommu_domain_ops {
        attach_dev: Some(Self::attach_dev),
        ..pin_init::zeroed()
    };

    /// The domain; to be the value of a `static`.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> StaticDomain<S> {
        // SAFETY: All-zero bytes are a valid `struct iommu_domain`: it holds integers, a C bool and
        // nullable pointers.
        let mut raw: bindings::iommu_domain = unsafe { MaybeUninit::zeroed().assume_init() };
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

    pub(super) const fn as_raw(&'static self) -> *mut bindings::iommu_domain {
        self.raw.get()
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `attach_dev` only.
    unsafe extern "C" fn attach_dev(
        domain: *mut bindings::iommu_domain,
        dev: *mut bindings::device,
        _old: *mut bindings::iommu_domain,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The core attaches only devices that `S::Driver` has probed.
            let target = unsafe { AttachTarget::from_raw(dev, domain) };
            S::attach(&target)?;
            Ok(0)
        })
    }
}

/// What becomes of a table when its domain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFate {
    /// The IOMMU no longer knows it: its memory may be freed.
    Free,
    /// The IOMMU may still walk it: its memory stays allocated for ever.
    Leak,
}

/// What a driver does for an allocated domain.
pub trait PagingDomain: Sized + Send + Sync + 'static {
    /// The driver that allocates the domain.
    type Driver: Driver<Domain = Self>;

    /// Puts the device into the domain, in place of the one it is in.
    ///
    /// Context: may sleep; serialised for devices of one group.
    ///
    /// # Errors
    ///
    /// The device must then be in the domain it was in before. [`EINVAL`] says that this device
    /// and this domain do not fit, and is not to be logged.
    fn attach(&self, target: &AttachTarget<'_, Self::Driver>) -> Result;

    /// Drops everything that the IOMMU caches of the domain. The caller frees memory right after:
    /// if the IOMMU cannot be made to forget, devices must be kept from using the domain.
    ///
    /// Context: any, interrupts on or off.
    fn flush_all(&self);

    /// Drops what the IOMMU caches of the gathered range, paging-structure entries included.
    ///
    /// Context: any, interrupts on or off. The range is never empty.
    fn flush(&self, gather: &Gather) -> FlushOutcome;

    /// The domain goes away; no device is attached. Makes the IOMMU forget its table.
    ///
    /// Context: may sleep.
    fn release(self) -> TableFate;
}

/// A domain that the core does not have yet. Dropping it releases it.
pub struct NewDomain<T: PagingDomain> {
    domain: *mut bindings::iommu_domain,
    _data: PhantomData<T>,
}

impl<T: PagingDomain> NewDomain<T> {
    /// Hands the domain to the core, which gives it back to `free`.
    pub(super) fn into_raw(self) -> *mut bindings::iommu_domain {
        ManuallyDrop::new(self).domain
    }
}

impl<T: PagingDomain> Drop for NewDomain<T> {
    fn drop(&mut self) {
        // SAFETY: The domain was made by `Paging::<T>::allocate`, and nobody else has it.
        unsafe { Paging::<T>::free(self.domain) };
    }
}

/// An allocated domain: the core's part and the table first, then the driver's data.
#[repr(C)]
pub struct Paging<T: PagingDomain> {
    table: Opaque<bindings::pt_iommu_x86_64>,
    data: T,
}

impl<T: PagingDomain> Paging<T> {
    /// The C side casts between the domain, the table and the whole.
    const LAYOUT: () = {
        assert!(offset_of!(Self, table) == 0);
        assert!(offset_of!(bindings::pt_iommu_x86_64, iommu) == 0);
        assert!(offset_of!(bindings::pt_iommu, domain) == 0);
    };

    /// Allocates a domain: first the table, then, by `make`, what the driver keeps for it.
    ///
    /// The core's view of the domain (page sizes, aperture) follows from `config`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`EINVAL`] for a width that the table cannot have and when no page size is left,
    /// or `make`'s error.
    pub fn allocate(
        config: pt::Config,
        make: impl FnOnce(pt::TableInfo) -> Result<T>,
    ) -> Result<NewDomain<T>> {
        const { Self::LAYOUT };

        let raw_config = config.to_raw()?;
        let mut memory = KBox::<Self>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        let domain = memory.as_mut_ptr();
        // SAFETY: The memory is zeroed and ours; the fields' addresses are inside it.
        let table: *mut bindings::pt_iommu_x86_64 =
            unsafe { Opaque::cast_into(&raw const (*domain).table) };
        // SAFETY: As above; `table` has the place of a zeroed `struct pt_iommu_x86_64`.
        unsafe { (*table).iommu.nid = config.node.as_raw() };
        // SAFETY: `table` is zeroed but for what the function lets the caller set.
        to_result(unsafe {
            bindings::pt_iommu_x86_64_init(table, &raw_config, bindings::GFP_KERNEL)
        })?;

        Self::restrict_aperture(table, config.last);
        let data = Self::restrict_page_sizes(table, config.page_sizes)
            .and_then(|()| make(Self::info(table)));
        match data {
            Ok(data) => {
                // SAFETY: `data` is the last field without a value.
                let this = unsafe {
                    (&raw mut (*domain).data).write(data);
                    memory.assume_init()
                };
                // The domain is the first field of the first field: see `LAYOUT`.
                Ok(NewDomain {
                    domain: KBox::into_raw(this).cast(),
                    _data: PhantomData,
                })
            }
            Err(error) => {
                // SAFETY: The table was initialised above, and nothing refers to it.
                unsafe { bindings::pt_iommu_deinit(&raw mut (*table).iommu) };
                Err(error)
            }
        }
    }

    fn restrict_aperture(table: *mut bindings::pt_iommu_x86_64, last: Iova) {
        // SAFETY: Called by `allocate` with an initialised table that nothing else uses yet.
        let geometry = unsafe { &mut (*table).iommu.domain.geometry };
        geometry.aperture_end = geometry.aperture_end.min(last.as_u64());
    }

    fn restrict_page_sizes(table: *mut bindings::pt_iommu_x86_64, sizes: u64) -> Result {
        // SAFETY: Called by `allocate` with an initialised table that nothing else uses yet.
        let bitmap = unsafe { &mut (*table).iommu.domain.pgsize_bitmap };
        *bitmap &= sizes as usize;
        if *bitmap == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn info(table: *mut bindings::pt_iommu_x86_64) -> pt::TableInfo {
        let mut info = bindings::pt_iommu_x86_64_hw_info::default();
        // SAFETY: Called by `allocate` with an initialised table; `info` is valid for a write.
        unsafe { bindings::pt_iommu_x86_64_hw_info(table, &mut info) };
        pt::TableInfo {
            root: info.gcr3_pt,
            levels: if info.levels > 4 {
                pt::Levels::Five
            } else {
                pt::Levels::Four
            },
        }
    }

    /// # Safety
    ///
    /// `domain` must come from a [`NewDomain`] of the same type, and not have been freed during `'a`.
    unsafe fn from_raw<'a>(domain: *mut bindings::iommu_domain) -> &'a Self {
        // SAFETY: By the caller's promise; after `allocate` all access is through shared references.
        unsafe { &*domain.cast() }
    }

    pub(super) const OPS: bindings::iommu_domain_ops = bindings::iommu_domain_ops {
        attach_dev: Some(Self::attach_dev),
        flush_iotlb_all: Some(Self::flush_iotlb_all),
        iotlb_sync: Some(Self::iotlb_sync),
        iova_to_phys: Some(bindings::pt_iommu_x86_64_iova_to_phys),
        free: Some(Self::free),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called by the IOMMU core as `attach_dev` only.
    unsafe extern "C" fn attach_dev(
        domain: *mut bindings::iommu_domain,
        dev: *mut bindings::device,
        _old: *mut bindings::iommu_domain,
    ) -> c_int {
        from_result(|| {
            // SAFETY: These ops belong to domains made by `allocate`, and the core attaches only
            // devices that the domain's driver has probed.
            let (target, domain) =
                unsafe { (AttachTarget::from_raw(dev, domain), Self::from_raw(domain)) };
            domain.data.attach(&target)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `flush_iotlb_all` only.
    unsafe extern "C" fn flush_iotlb_all(domain: *mut bindings::iommu_domain) {
        // SAFETY: These ops belong to domains made by `allocate`.
        let domain = unsafe { Self::from_raw(domain) };
        domain.data.flush_all();
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `iotlb_sync` only.
    unsafe extern "C" fn iotlb_sync(
        domain: *mut bindings::iommu_domain,
        gather: *mut bindings::iommu_iotlb_gather,
    ) {
        // SAFETY: These ops belong to domains made by `allocate`; the gather is the caller's own.
        let (domain, gather) = unsafe { (Self::from_raw(domain), Gather::from_raw(gather)) };
        match domain.data.flush(gather) {
            FlushOutcome::Flushed => gather.free_pages(),
            // The IOMMU may still walk the pages that the unmap took out: they are never freed.
            FlushOutcome::Stale => {}
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `free` only, once.
    unsafe extern "C" fn free(domain: *mut bindings::iommu_domain) {
        let this: *mut Self = domain.cast();
        // SAFETY: These ops belong to domains made by `allocate`. The core gives the domain back
        // here: nobody else has it, and the data is not looked at again.
        let data = unsafe { (&raw const (*this).data).read() };
        match data.release() {
            TableFate::Free => {
                // SAFETY: The table is initialised, and by `release` no longer in use.
                unsafe {
                    let table = Opaque::cast_into(&raw const (*this).table);
                    bindings::pt_iommu_deinit(&raw mut (*table).iommu);
                }
                // SAFETY: The memory comes from a `KBox` of the same layout; its fields are done
                // with.
                drop(unsafe { KBox::<MaybeUninit<Self>>::from_raw(this.cast()) });
            }
            TableFate::Leak => {
                // SAFETY: The function only notes the address.
                unsafe { bindings::kmemleak_not_leak(this.cast()) };
            }
        }
    }
}
