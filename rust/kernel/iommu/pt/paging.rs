// SPDX-License-Identifier: GPL-2.0

//! A domain with a generic page table.

use super::{
    Config,
    Features,
    Format, //
};
use crate::{
    alloc::KBox,
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_int,
    iommu::{
        domain::{
            common_ops,
            Container,
            Domain,
            NewDomain, //
        },
        gather::{
            FlushOutcome,
            Gather, //
        }, //
    },
    prelude::*,
    sync::static_lock_class,
    types::Opaque, //
};
use core::{
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr::NonNull, //
};

/// What becomes of a table when its domain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFate {
    /// The IOMMU no longer knows it: its memory may be freed.
    Free,
    /// The IOMMU may still walk it: its memory stays allocated for ever, as does the driver's part.
    Leak,
}

/// Whether writes of devices are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyTracking {
    /// They are.
    On,
    /// They are not.
    Off,
}

/// What a driver does for a domain with a generic page table.
#[vtable]
pub trait TableDomain: Domain {
    /// The table's format.
    type Format: Format;

    /// Drops what the IOMMU caches of the gathered range, paging-structure entries included.
    ///
    /// Context: any, interrupts on or off. The range is never empty.
    fn flush(&self, gather: &Gather) -> FlushOutcome;

    /// The domain goes away; no device is attached. Makes the IOMMU forget its table.
    ///
    /// Context: may sleep.
    fn release(&self) -> TableFate;

    /// Has the IOMMU note which pages devices write to, by the table's entries, or stops that. The
    /// notes are read by the core.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// It is as it was before.
    fn set_dirty_tracking(&self, _tracking: DirtyTracking) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table has grown: the IOMMU is to be told of the new top wherever it was told of the old
    /// one, which stays part of the table. Of [`AmdV1`](super::AmdV1) alone, which needs it.
    ///
    /// Context: any, with a spinlock held. Calls are serialised.
    fn change_top(&self, _info: <Self::Format as Format>::Info) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// An allocated domain: the core's part and the table first, then the driver's.
#[repr(C)]
pub struct Paging<T: TableDomain> {
    table: Opaque<<T::Format as Format>::Table>,
    /// Held while the table's top changes.
    top_lock: Opaque<bindings::spinlock_t>,
    data: T,
}

impl<T: TableDomain> Paging<T> {
    /// The C side casts between the domain, the table and the whole.
    const LAYOUT: () = {
        assert!(offset_of!(Self, table) == 0);
        assert!(offset_of!(bindings::pt_iommu, domain) == 0);
        assert!(
            <T::Format as Format>::FEATURES.contains(Features::DYNAMIC_TOP) == T::HAS_CHANGE_TOP,
            "tables of this format grow, or they do not"
        );
    };

    /// Allocates a domain: first the table, then, by `make`, what the driver keeps for it.
    ///
    /// The core's view of the domain (page sizes, aperture) follows from `config`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] for a shape that no table can have, and when no page size is left;
    /// [`EOPNOTSUPP`] for features that the format does not know; or `make`'s error, or that of the
    /// initialiser that it returns.
    pub fn allocate<I, E>(
        config: Config<T::Format>,
        make: impl FnOnce(<T::Format as Format>::Info) -> Result<I>,
    ) -> Result<NewDomain<T::Driver>>
    where
        I: PinInit<T, E>,
        Error: From<E>,
    {
        const { Self::LAYOUT };

        let features = config.features.with(<T::Format as Format>::FEATURES);
        let raw_config = <T::Format as Format>::raw_config(
            bindings::pt_iommu_cfg {
                features: features.0,
                hw_max_vasz_lg2: 0,
                hw_max_oasz_lg2: config.output_width,
            },
            config.shape,
        )?;
        let mut memory = KBox::<Self>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        let this = memory.as_mut_ptr();
        let iommu: *mut bindings::pt_iommu = this.cast();
        // SAFETY: The memory is zeroed and ours. By `LAYOUT` and the promise of `Format` it begins
        // with a `struct pt_iommu`.
        unsafe { (*iommu).nid = config.node.as_raw() };
        if let Some(ops) = Self::DRIVER_OPS {
            // SAFETY: As above; the lock's key lives for ever.
            unsafe {
                (*iommu).driver_ops = ops;
                bindings::__spin_lock_init(
                    Opaque::cast_into(&raw const (*this).top_lock),
                    c"Paging::top_lock".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                );
            }
        }
        // SAFETY: As above; the address is inside.
        let table = unsafe { Opaque::cast_into(&raw const (*this).table) };
        // SAFETY: `table` is zeroed but for what the function lets the caller set.
        to_result(unsafe { <T::Format as Format>::init(table, &raw_config) })?;

        // SAFETY: The table is initialised, and nothing else uses its domain yet.
        let domain = unsafe { &mut *this.cast::<bindings::iommu_domain>() };
        domain.ops = Self::OPS;
        if let Some(ops) = Self::DIRTY_OPS {
            domain.dirty_ops = ops;
        }
        domain.geometry.aperture_end = domain.geometry.aperture_end.min(config.last.as_u64());
        domain.pgsize_bitmap &= config.page_sizes as usize;
        let has_pages = domain.pgsize_bitmap != 0;
        let domain = NonNull::from(domain);

        // SAFETY: The table is initialised.
        let (root, level) = unsafe { <T::Format as Format>::top(table) };
        let info = has_pages.then(|| <T::Format as Format>::info(root, level));
        let made = info.ok_or(EINVAL).and_then(make).and_then(|data| {
            // SAFETY: The place is ours and has no value yet; it does not move before it is freed.
            // If the initialiser fails, the value is not used.
            unsafe { pin_init::raw_try_init(&raw mut (*this).data, data) }.map_err(Error::from)
        });
        if let Err(error) = made {
            // SAFETY: The table was initialised above, and nothing refers to it.
            unsafe { bindings::pt_iommu_deinit(iommu) };
            return Err(error);
        }
        // All fields have values now; `free` takes the memory back.
        let _ = KBox::into_raw(memory);
        // SAFETY: The domain is one of this container, and new.
        Ok(unsafe { NewDomain::from_raw(domain) })
    }

    /// # Safety
    ///
    /// `domain` must be one that [`Self::allocate`] has made, and not have been freed during `'a`.
    unsafe fn from_raw<'a>(domain: *mut bindings::iommu_domain) -> &'a Self {
        // SAFETY: By the caller's promise, and `LAYOUT`; after `allocate` all access is through
        // shared references.
        unsafe { &*domain.cast() }
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
        // SAFETY: These ops belong to domains made by `allocate`.
        match unsafe { Self::from_raw(domain) }.data.release() {
            TableFate::Free => {
                // SAFETY: The core gives the domain back here: nobody else has it. The table is
                // initialised, and by `release` no longer in use; the data is not looked at again.
                unsafe {
                    (&raw mut (*this).data).drop_in_place();
                    bindings::pt_iommu_deinit(this.cast());
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

    const DIRTY_OPS: Option<&'static bindings::iommu_dirty_ops> = if T::HAS_SET_DIRTY_TRACKING {
        Some(&bindings::iommu_dirty_ops {
            set_dirty_tracking: Some(Self::set_dirty_tracking),
            read_and_clear_dirty: Some(<T::Format as Format>::READ_AND_CLEAR_DIRTY),
        })
    } else {
        None
    };

    /// # Safety
    ///
    /// To be called by the IOMMU core as `set_dirty_tracking` only.
    unsafe extern "C" fn set_dirty_tracking(
        domain: *mut bindings::iommu_domain,
        on: bool,
    ) -> c_int {
        let tracking = if on {
            DirtyTracking::On
        } else {
            DirtyTracking::Off
        };
        // SAFETY: These ops belong to domains made by `allocate`.
        let domain = unsafe { Self::from_raw(domain) };
        from_result(|| domain.data.set_dirty_tracking(tracking).map(|()| 0))
    }

    const DRIVER_OPS: Option<&'static bindings::pt_iommu_driver_ops> = if T::HAS_CHANGE_TOP {
        Some(&bindings::pt_iommu_driver_ops {
            change_top: Some(Self::change_top),
            get_top_lock: Some(Self::get_top_lock),
        })
    } else {
        None
    };

    /// # Safety
    ///
    /// To be called by the generic page table as `change_top` only.
    unsafe extern "C" fn change_top(
        iommu: *mut bindings::pt_iommu,
        root: bindings::phys_addr_t,
        level: u32,
    ) {
        // SAFETY: These ops belong to tables made by `allocate`. The table may grow while the
        // driver's part of the domain is made, as nothing is mapped before.
        let domain = unsafe { Self::from_raw(iommu.cast()) };
        domain
            .data
            .change_top(<T::Format as Format>::info(root, level));
    }

    /// # Safety
    ///
    /// To be called by the generic page table as `get_top_lock` only.
    unsafe extern "C" fn get_top_lock(iommu: *mut bindings::pt_iommu) -> *mut bindings::spinlock_t {
        // SAFETY: These ops belong to tables made by `allocate`.
        unsafe { Self::from_raw(iommu.cast()) }.top_lock.get()
    }
}

// SAFETY: Domains with these ops are made by `allocate`; by `LAYOUT` they begin with the domain.
unsafe impl<T: TableDomain> Container for Paging<T> {
    type Data = T;

    const OPS: &'static bindings::iommu_domain_ops = &{
        let mut ops = common_ops::<Self>();
        ops.iotlb_sync = Some(Self::iotlb_sync);
        ops.iova_to_phys = Some(<T::Format as Format>::IOVA_TO_PHYS);
        ops.free = Some(Self::free);
        ops
    };

    unsafe fn data<'a>(domain: *mut bindings::iommu_domain) -> &'a T {
        // SAFETY: By the caller's promise.
        unsafe { &Self::from_raw(domain).data }
    }
}
