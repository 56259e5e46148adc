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
            ops_of,
            Container,
            Domain,
            DomainOps,
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

/// What happens to the memory of a table when its domain is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFate {
    /// The IOMMU no longer uses the table: its memory may be freed.
    Free,
    /// The IOMMU may still walk the table: its memory stays allocated for ever, and so does the
    /// driver's part of the domain.
    Leak,
}

/// Whether the IOMMU notes which pages devices write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyTracking {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// What a driver does for a domain with a generic page table.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     domain::Domain,
///     driver::Driver,
///     gather::{
///         FlushOutcome,
///         Gather, //
///     },
///     probed::AttachTarget,
///     pt::{
///         TableDomain,
///         TableFate,
///         X86_64, //
///     }, //
/// };
/// # use core::marker::PhantomData;
///
/// struct Table<D>(PhantomData<fn() -> D>);
///
/// #[vtable]
/// impl<D: Driver> Domain for Table<D> {
///     type Driver = D;
///
///     fn attach(&self, _target: &AttachTarget<'_, D>) -> Result {
///         // Here the IOMMU is told to use the table for the device.
///         Ok(())
///     }
///
///     fn flush_all(&self) {}
/// }
///
/// #[vtable]
/// impl<D: Driver> TableDomain for Table<D> {
///     type Format = X86_64;
///
///     fn flush(&self, gather: &Gather) -> FlushOutcome {
///         pr_info!("{:?} to {:?}\n", gather.first(), gather.last());
///         FlushOutcome::Flushed
///     }
///
///     fn release(&self) -> TableFate {
///         TableFate::Free
///     }
/// }
/// ```
#[vtable]
pub trait TableDomain: Domain {
    /// The table's format.
    type Format: Format;

    /// Drops what the IOMMU caches of the gathered range, including entries that point at tables.
    ///
    /// Context: any, interrupts on or off. The range is never empty.
    fn flush(&self, gather: &Gather) -> FlushOutcome;

    /// Called before the domain is freed. No device is attached to it. Makes the IOMMU forget the
    /// table.
    ///
    /// Context: may sleep.
    fn release(&self) -> TableFate;

    /// Makes the IOMMU note in the table's entries which pages devices write to, or stop that. The
    /// core reads the notes.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// The tracking is as it was before.
    fn set_dirty_tracking(&self, _tracking: DirtyTracking) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when the table has grown. The driver must tell the IOMMU of the new top wherever it
    /// told it of the old one, which stays a part of the table. Drivers that use
    /// [`AmdV1`](super::AmdV1) must implement this, and no others can.
    ///
    /// Context: any, with a spinlock held. The core serialises the calls for one table.
    fn change_top(&self, _info: <Self::Format as Format>::Info) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The memory of an allocated domain: the core's part and the table, then the driver's part.
#[repr(C)]
pub struct Paging<T: TableDomain> {
    table: Opaque<<T::Format as Format>::Table>,
    /// Held while the table's top changes.
    top_lock: Opaque<bindings::spinlock_t>,
    data: T,
}

impl<T: TableDomain> Paging<T> {
    /// The C side casts between the domain and the table, and this file between these and the
    /// whole.
    const LAYOUT: () = {
        assert!(offset_of!(Self, table) == 0);
        assert!(offset_of!(bindings::pt_iommu, domain) == 0);
        assert!(
            <T::Format as Format>::FEATURES.contains(Features::DYNAMIC_TOP) == T::HAS_CHANGE_TOP,
            "tables of this format grow, or they do not"
        );
    };

    /// Allocates a domain. First the table is made; then `make` makes what the driver keeps for the
    /// domain, and learns where the table is.
    ///
    /// The core's view of the domain (page sizes, aperture) follows from `config`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] for a shape that no table can have, or if no page size is left;
    /// [`EOPNOTSUPP`] for features that the format does not know; the error of `make`, or of the
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
        // SAFETY: The memory is zeroed, and nobody else uses it. By `LAYOUT` and the promise of
        // `Format` it begins with a `struct pt_iommu`.
        unsafe { (*iommu).nid = config.node.as_raw() };
        if let Some(ops) = Self::DRIVER_OPS {
            // SAFETY: The memory is the same, and includes the lock. The lock's key lives for ever.
            unsafe {
                (*iommu).driver_ops = ops;
                bindings::__spin_lock_init(
                    Opaque::cast_into(&raw const (*this).top_lock),
                    c"Paging::top_lock".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                );
            }
        }
        // SAFETY: The field is in the same memory.
        let table = unsafe { Opaque::cast_into(&raw const (*this).table) };
        // SAFETY: `table` is zeroed, except for what the function lets the caller set.
        to_result(unsafe { <T::Format as Format>::init(table, &raw_config) })?;

        // SAFETY: The table is initialised, so the memory begins with a domain. Nobody else uses
        // that yet.
        let domain = unsafe { &mut *this.cast::<bindings::iommu_domain>() };
        domain.ops = Self::OPS.as_raw();
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
            // SAFETY: The place is allocated, has no value yet, and does not move before it is
            // freed. If the initialiser fails, the value is not used.
            unsafe { pin_init::raw_try_init(&raw mut (*this).data, data) }.map_err(Error::from)
        });
        if let Err(error) = made {
            // SAFETY: The table was initialised above, and nobody refers to it.
            unsafe { bindings::pt_iommu_deinit(iommu) };
            return Err(error);
        }
        // All fields have values now. `free` turns the pointer into a box again.
        let _ = KBox::into_raw(memory);
        // SAFETY: The domain is new, and one of this container.
        Ok(unsafe { NewDomain::from_raw(domain) })
    }

    /// # Safety
    ///
    /// `domain` must come from [`Self::allocate`], and must not be freed during `'a`.
    unsafe fn from_raw<'a>(domain: *mut bindings::iommu_domain) -> &'a Self {
        // SAFETY: By the caller's promise and `LAYOUT`, the domain is at the start of a `Self`.
        // After `allocate`, it is accessed by shared references only.
        unsafe { &*domain.cast() }
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
        let (domain, gather) = unsafe { (Self::from_raw(domain), Gather::from_raw(gather)) };
        match domain.data.flush(gather) {
            FlushOutcome::Flushed => gather.free_pages(),
            // The IOMMU may still walk the pages that the unmap took out, so they are never freed.
            FlushOutcome::Stale => {}
        }
    }

    /// # Safety
    ///
    /// To be called by the IOMMU core as `free` only, once.
    unsafe extern "C" fn free(domain: *mut bindings::iommu_domain) {
        let this: *mut Self = domain.cast();
        // SAFETY: Only domains from `allocate` have these ops. The domain is freed below.
        match unsafe { Self::from_raw(domain) }.data.release() {
            TableFate::Free => {
                // SAFETY: Nobody else has the domain any more, as the core gives it back here. The
                // table is initialised, and `release` said that the IOMMU no longer uses it. The
                // data is not used again.
                unsafe {
                    (&raw mut (*this).data).drop_in_place();
                    bindings::pt_iommu_deinit(this.cast());
                }
                // SAFETY: `allocate` has made the pointer from a `KBox` of the same layout. The
                // fields were dropped above.
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
        // SAFETY: Only domains from `allocate` have these ops. The core does not free the domain
        // meanwhile.
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
        // SAFETY: Only tables from `allocate` have these ops. The data has a value: a table grows
        // only when something is mapped, and nothing is mapped before `allocate` returns.
        let domain = unsafe { Self::from_raw(iommu.cast()) };
        domain
            .data
            .change_top(<T::Format as Format>::info(root, level));
    }

    /// # Safety
    ///
    /// To be called by the generic page table as `get_top_lock` only.
    unsafe extern "C" fn get_top_lock(iommu: *mut bindings::pt_iommu) -> *mut bindings::spinlock_t {
        // SAFETY: Only tables from `allocate` have these ops. The table is not freed meanwhile.
        unsafe { Self::from_raw(iommu.cast()) }.top_lock.get()
    }
}

// SAFETY: Only domains from `allocate` have these ops. By `LAYOUT` each is at the start of a
// `Self`.
unsafe impl<T: TableDomain> Container for Paging<T> {
    type Data = T;

    const OPS: &'static DomainOps = &{
        let mut ops = common_ops::<Self>();
        ops.iotlb_sync = Some(Self::iotlb_sync);
        ops.iova_to_phys = Some(<T::Format as Format>::IOVA_TO_PHYS);
        ops.free = Some(Self::free);
        ops_of::<Self>(ops)
    };

    unsafe fn data<'a>(domain: *mut bindings::iommu_domain) -> &'a T {
        // SAFETY: The caller promises a domain with these ops, which `allocate` has made.
        unsafe { &Self::from_raw(domain).data }
    }
}
