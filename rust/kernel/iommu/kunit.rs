// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the driver abstractions: a driver that only counts what it is asked to do.

#[macros::kunit_tests(rust_kernel_iommu)]
mod tests {
    use crate::{
        bindings, device,
        iommu::{
            ats::Ats,
            domain::{
                NewDomain,
                Paging,
                PagingDomain,
                StaticDomain,
                StaticDomainOps,
                StaticKind,
                TableFate, //
            },
            gather::{
                FlushOutcome,
                Gather, //
            },
            ops::{
                AttachTarget,
                Capability,
                Driver,
                Grouping,
                Ops,
                Probed, //
            },
            pt,
            resv::ReservedRegions,
            Iova,
        },
        prelude::*,
        sync::{
            atomic::{
                ordering::Relaxed,
                Atomic, //
            },
            Arc,
        },
    };

    /// What the domain was asked to do.
    struct Log {
        flushes: Atomic<u32>,
        /// Flushes during which a page of the table was waiting to be freed.
        holding: Atomic<u32>,
        /// Not 0: flushes fail.
        failing: Atomic<u32>,
        first: Atomic<u64>,
        last: Atomic<u64>,
        released: Atomic<u32>,
    }

    impl Log {
        fn new() -> Result<Arc<Log>> {
            Ok(Arc::new(
                Log {
                    flushes: Atomic::new(0),
                    holding: Atomic::new(0),
                    failing: Atomic::new(0),
                    first: Atomic::new(0),
                    last: Atomic::new(0),
                    released: Atomic::new(0),
                },
                GFP_KERNEL,
            )?)
        }
    }

    struct TestDriver;

    struct TestDomain(Arc<Log>);

    impl Driver for TestDriver {
        type Endpoint = ();
        type Domain = TestDomain;

        const GROUPING: Grouping = Grouping::PerDevice;

        fn capable(_endpoint: &Self::Endpoint, _capability: Capability) -> bool {
            false
        }

        fn probe_device(_dev: &device::Device, _ats: Option<Ats>) -> Result<Probed<Self>> {
            Err(ENODEV)
        }

        fn release_device(_target: &AttachTarget<'_, Self>) {}

        fn reserved_regions(_dev: &device::Device, _regions: &mut ReservedRegions) -> Result {
            Ok(())
        }

        fn alloc_domain(_dev: &device::Device, _endpoint: &()) -> Result<NewDomain<TestDomain>> {
            Err(ENODEV)
        }
    }

    impl PagingDomain for TestDomain {
        type Driver = TestDriver;

        fn attach(&self, _target: &AttachTarget<'_, TestDriver>) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}

        fn flush(&self, gather: &Gather) -> FlushOutcome {
            self.0.flushes.fetch_add(1, Relaxed);
            self.0.first.store(gather.first().as_u64(), Relaxed);
            self.0.last.store(gather.last().as_u64(), Relaxed);
            if gather.holds_one_page() {
                self.0.holding.fetch_add(1, Relaxed);
            }
            match self.0.failing.load(Relaxed) {
                0 => FlushOutcome::Flushed,
                _ => FlushOutcome::Stale,
            }
        }

        fn release(self) -> TableFate {
            self.0.released.fetch_add(1, Relaxed);
            TableFate::Free
        }
    }

    struct Nothing;

    impl StaticDomainOps for Nothing {
        type Driver = TestDriver;

        const KIND: StaticKind = StaticKind::Blocking;

        fn attach(_target: &AttachTarget<'_, TestDriver>) -> Result {
            Ok(())
        }
    }

    struct Everything;

    impl StaticDomainOps for Everything {
        type Driver = TestDriver;

        const KIND: StaticKind = StaticKind::Identity;

        fn attach(_target: &AttachTarget<'_, TestDriver>) -> Result {
            Ok(())
        }
    }

    static NOTHING: StaticDomain<Nothing> = StaticDomain::new();
    static EVERYTHING: StaticDomain<Everything> = StaticDomain::new();
    static OPS: Ops<TestDriver> = Ops::new(&EVERYTHING, &NOTHING);

    const CONFIG: pt::Config = pt::Config {
        width: 47,
        levels: pt::Levels::Four,
        last: Iova::new((1 << 47) - 1),
        page_sizes: 0x20_1000,
        node: pt::Node::ANY,
    };

    #[test]
    fn ops_name_their_static_domains() {
        // SAFETY: The ops and the domains are static and were built before.
        let (ops, nothing, everything) = unsafe {
            (
                &*OPS.as_raw(),
                (*NOTHING.as_raw()).type_,
                (*EVERYTHING.as_raw()).type_,
            )
        };
        assert!(core::ptr::eq(ops.identity_domain, EVERYTHING.as_raw()));
        assert!(core::ptr::eq(ops.blocked_domain, NOTHING.as_raw()));
        assert!(core::ptr::eq(ops.release_domain, NOTHING.as_raw()));
        assert_eq!(nothing, bindings::IOMMU_DOMAIN_BLOCKED);
        assert_eq!(everything, bindings::IOMMU_DOMAIN_IDENTITY);
    }

    #[test]
    fn a_table_says_where_it_is() -> Result {
        let log = Log::new()?;
        let mut root = 0;
        let domain = Paging::<TestDomain>::allocate(CONFIG, |table| {
            root = table.root;
            assert_eq!(table.levels, pt::Levels::Four);
            Ok(TestDomain(log.clone()))
        })?;
        assert!(root != 0 && root % 4096 == 0);
        free(domain.into_raw());
        assert_eq!(log.released.load(Relaxed), 1);
        Ok(())
    }

    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    #[test]
    fn entries_are_read_where_there_is_memory() -> Result {
        let log = Log::new()?;
        let mut root = 0;
        let domain = Paging::<TestDomain>::allocate(CONFIG, |table| {
            root = table.root;
            Ok(TestDomain(log.clone()))
        })?;
        assert_eq!(pt::peek_entry(root), Some(0));
        assert_eq!(pt::peek_entry(root + 4088), Some(0));
        assert_eq!(pt::peek_entry(root + 4), None);
        // Beyond what any x86 has, and the local APIC.
        assert_eq!(pt::peek_entry(!7), None);
        assert_eq!(pt::peek_entry(0xfee0_0020), None);
        free(domain.into_raw());
        Ok(())
    }

    /// As the core does.
    fn free(domain: *mut bindings::iommu_domain) {
        if let Some(free) = Paging::<TestDomain>::OPS.free {
            // SAFETY: The tests call this once per domain.
            unsafe { free(domain) };
        }
    }

    #[test]
    fn an_aperture_and_page_sizes_are_as_configured() -> Result {
        let log = Log::new()?;
        let domain = Paging::allocate(CONFIG, |_| Ok(TestDomain(log.clone())))?.into_raw();
        // SAFETY: The domain is valid until `free`.
        let (sizes, geometry) = unsafe { ((*domain).pgsize_bitmap, &(*domain).geometry) };
        assert_eq!(sizes, 0x20_1000);
        assert_eq!(geometry.aperture_start, 0);
        assert_eq!(geometry.aperture_end, (1 << 47) - 1);
        assert!(geometry.force_aperture);
        free(domain);
        Ok(())
    }

    #[test]
    fn an_aperture_may_be_narrower_than_its_table() -> Result {
        let log = Log::new()?;
        for (last, end) in [
            (0xffff_ffff, 0xffff_ffff),
            ((1 << 39) - 1, (1 << 39) - 1),
            (u64::MAX, (1 << 39) - 1),
        ] {
            let config = pt::Config {
                width: 39,
                last: Iova::new(last),
                ..CONFIG
            };
            let domain = Paging::allocate(config, |_| Ok(TestDomain(log.clone())))?.into_raw();
            // SAFETY: The domain is valid until `free`.
            let geometry = unsafe { &(*domain).geometry };
            assert_eq!(geometry.aperture_start, 0);
            assert_eq!(geometry.aperture_end, end);
            assert!(geometry.force_aperture);
            free(domain);
        }
        Ok(())
    }

    #[test]
    fn every_width_makes_a_table_or_is_refused() -> Result {
        let log = Log::new()?;
        for levels in [pt::Levels::Four, pt::Levels::Five] {
            for width in 0..=u8::MAX {
                let config = pt::Config {
                    width,
                    levels,
                    ..CONFIG
                };
                let domain = Paging::allocate(config, |table| {
                    assert_eq!(table.levels, levels);
                    Ok(TestDomain(log.clone()))
                });
                match domain {
                    Ok(domain) => {
                        assert!(levels.widths().contains(&width));
                        drop(domain);
                    }
                    Err(error) => {
                        assert!(!levels.widths().contains(&width));
                        assert!(error == EINVAL);
                    }
                }
            }
        }
        assert_eq!(log.released.load(Relaxed), 20);
        Ok(())
    }

    #[test]
    fn an_unmap_is_flushed_from_its_first_to_its_last_byte() -> Result {
        let log = Log::new()?;
        let domain = Paging::allocate(CONFIG, |_| Ok(TestDomain(log.clone())))?.into_raw();
        let ops = Paging::<TestDomain>::OPS;
        let (iova, paddr, size) = (0x7fff_f000, 0x1234_5000, 0x2000);
        let prot = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;
        // SAFETY: The domain is valid until `free`, and no device uses it: what the table leads to
        // does not matter. The ops are what the core would set.
        let mapped = unsafe {
            (*domain).ops = &ops;
            bindings::iommu_map(domain, iova, paddr, size, prot, bindings::GFP_KERNEL)
        };
        assert_eq!(mapped, 0);
        // SAFETY: As above.
        let physical = unsafe { bindings::iommu_iova_to_phys(domain, 0x8000_0123) };
        assert_eq!(physical, 0x1234_6123);
        assert_eq!(log.flushes.load(Relaxed), 0);
        // SAFETY: As above.
        let (unmapped, physical) = unsafe {
            let unmapped = bindings::iommu_unmap(domain, iova, size);
            let physical = bindings::iommu_iova_to_phys(domain, 0x8000_0123);
            (*domain).ops = core::ptr::null();
            (unmapped, physical)
        };
        assert_eq!(unmapped, size);
        assert_eq!(physical, 0);
        assert_eq!(log.flushes.load(Relaxed), 1);
        assert_eq!(Iova::new(log.first.load(Relaxed)), Iova::new(0x7fff_f000));
        assert_eq!(Iova::new(log.last.load(Relaxed)), Iova::new(0x8000_0fff));
        free(domain);
        Ok(())
    }

    /// Maps 2 MiB by 4 KiB pages and unmaps them at once, which takes their table out; the driver flushes.
    ///
    /// Whether the gather has the table's page after that.
    fn unmap_a_table(log: &Arc<Log>) -> Result<bool> {
        const BYTES: usize = 0x20_0000;
        let small = pt::Config {
            page_sizes: 0x1000,
            ..CONFIG
        };
        let domain = Paging::allocate(small, |_| Ok(TestDomain(log.clone())))?.into_raw();
        let ops = Paging::<TestDomain>::OPS;
        let prot = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;
        let mut gather = bindings::iommu_iotlb_gather::default();
        // SAFETY: The domain is valid until `free`, and no device uses it. The gather's list is initialised before it is
        // used, and the gather stays where it is. The operation is called as the core does.
        let (mapped, unmapped, held) = unsafe {
            (*domain).ops = &ops;
            let mapped = bindings::iommu_map(
                domain,
                BYTES,
                0x1234_5000,
                BYTES,
                prot,
                bindings::GFP_KERNEL,
            );
            gather.start = usize::MAX;
            let head = &raw mut gather.freelist.pages;
            (*head).next = head;
            (*head).prev = head;
            let unmapped = bindings::iommu_unmap_fast(domain, BYTES, BYTES, &mut gather);
            if let Some(sync) = ops.iotlb_sync {
                sync(domain, &mut gather);
            }
            (*domain).ops = core::ptr::null();
            let gather = Gather::from_raw(&mut gather);
            let held = gather.holds_one_page();
            if held {
                gather.free_pages();
            }
            (mapped, unmapped, held)
        };
        assert_eq!((mapped, unmapped), (0, BYTES));
        free(domain);
        Ok(held)
    }

    #[test]
    fn pages_of_a_table_are_freed_after_the_flush() -> Result {
        let log = Log::new()?;
        assert!(!unmap_a_table(&log)?);
        assert_eq!(log.flushes.load(Relaxed), 1);
        assert_eq!(log.holding.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn pages_of_a_table_stay_when_the_flush_fails() -> Result {
        let log = Log::new()?;
        log.failing.store(1, Relaxed);
        assert!(unmap_a_table(&log)?);
        assert_eq!(log.holding.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_domain_that_the_core_never_gets_is_released() -> Result {
        let log = Log::new()?;
        drop(Paging::allocate(CONFIG, |_| Ok(TestDomain(log.clone())))?);
        assert_eq!(log.released.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_failed_allocation_leaves_nothing() -> Result {
        let log = Log::new()?;
        let refused = Paging::<TestDomain>::allocate(CONFIG, |_| Err(EBUSY));
        assert!(refused.err() == Some(EBUSY));
        let no_size = pt::Config {
            page_sizes: 0x10_0000,
            ..CONFIG
        };
        let refused = Paging::allocate(no_size, |_| Ok(TestDomain(log.clone())));
        assert!(refused.err() == Some(EINVAL));
        assert_eq!(log.released.load(Relaxed), 0);
        Ok(())
    }

    use crate::ffi::c_int;
}
