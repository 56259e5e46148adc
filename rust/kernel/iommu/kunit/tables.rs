// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of domains, with a driver that only counts what it is asked to do.

#[macros::kunit_tests(rust_kernel_iommu)]
mod tests {
    use crate::{
        alloc::Flags,
        bindings,
        ffi::c_int,
        io::PhysAddr,
        iommu::{
            domain::{
                self,
                Domain,
                DomainKind,
                DomainRef,
                Mapped,
                Mapping,
                NewDomain,
                PagingDomain,
                SelfMapped,
                StaticDomain,
                StaticDomainOps,
                StaticKind,
                Unmapping, //
            },
            gather::{
                FlushOutcome,
                Gather, //
            },
            kunit::driver::{
                Log,
                TestDriver, //
            },
            ops::Ops,
            probed::AttachTarget,
            pt::{
                self,
                Levels,
                Paging,
                TableDomain,
                TableFate,
                X86_64Shape,
                X86_64, //
            },
            Iova, //
        },
        prelude::*,
        sync::{
            atomic::ordering::Relaxed,
            Arc, //
        },
    };

    struct TestDomain(Arc<Log>);

    #[vtable]
    impl Domain for TestDomain {
        type Driver = TestDriver;

        fn attach(&self, _target: &AttachTarget<'_, TestDriver>) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}
    }

    #[vtable]
    impl TableDomain for TestDomain {
        type Format = X86_64;

        fn flush(&self, gather: &Gather) -> FlushOutcome {
            self.0.flushed(gather);
            if gather.holds_one_page() {
                self.0.holding.fetch_add(1, Relaxed);
            }
            match self.0.failing.load(Relaxed) {
                0 => FlushOutcome::Flushed,
                _ => FlushOutcome::Stale,
            }
        }

        fn release(&self) -> TableFate {
            self.0.released.fetch_add(1, Relaxed);
            TableFate::Free
        }
    }

    /// A domain in which nothing can be mapped.
    struct EmptyDomain;

    #[vtable]
    impl Domain for EmptyDomain {
        type Driver = TestDriver;

        fn attach(&self, _target: &AttachTarget<'_, TestDriver>) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}
    }

    #[vtable]
    impl PagingDomain for EmptyDomain {
        fn map(&self, _mapping: &Mapping, _flags: Flags) -> Mapped {
            Mapped {
                bytes: 0,
                result: Err(ENOMEM),
            }
        }

        fn unmap(&self, _unmapping: &Unmapping<'_>, _gather: &mut Gather) -> usize {
            0
        }

        fn iova_to_phys(&self, _iova: Iova) -> Option<PhysAddr> {
            None
        }
    }

    struct Nothing;

    #[vtable]
    impl StaticDomainOps for Nothing {
        type Driver = TestDriver;

        const KIND: StaticKind = StaticKind::Blocking;

        fn attach(_target: &AttachTarget<'_, TestDriver>) -> Result {
            Ok(())
        }
    }

    struct Everything;

    #[vtable]
    impl StaticDomainOps for Everything {
        type Driver = TestDriver;

        const KIND: StaticKind = StaticKind::Identity;

        fn attach(_target: &AttachTarget<'_, TestDriver>) -> Result {
            Ok(())
        }
    }

    static NOTHING: StaticDomain<Nothing> = StaticDomain::new();
    static EVERYTHING: StaticDomain<Everything> = StaticDomain::new();
    static OPS: Ops<TestDriver> = Ops::new()
        .with_identity(&EVERYTHING)
        .with_blocking(&NOTHING);

    const SHAPE: X86_64Shape = X86_64Shape {
        levels: Levels::Four,
        width: 47,
    };

    const CONFIG: pt::Config<X86_64> = pt::Config {
        shape: SHAPE,
        output_width: 52,
        features: pt::Features::FLUSH_RANGE,
        last: Iova::new((1 << 47) - 1),
        page_sizes: 0x20_1000,
        node: pt::Node::ANY,
    };

    #[test]
    fn ops_name_their_static_domains() {
        // SAFETY: The ops and the domains are `static`, and nobody writes them.
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
            assert_eq!(table.levels, Levels::Four);
            Ok(TestDomain(log.clone()))
        })?;
        assert!(root != 0 && root % 4096 == 0);
        drop(domain);
        assert_eq!(log.released.load(Relaxed), 1);
        Ok(())
    }

    fn allocate(log: &Arc<Log>, config: pt::Config<X86_64>) -> Result<NewDomain<TestDriver>> {
        Paging::allocate(config, |_| Ok(TestDomain(log.clone())))
    }

    #[test]
    fn what_a_driver_leaves_out_is_absent() -> Result {
        let domain = allocate(&Log::new()?, CONFIG)?;
        // SAFETY: The ops are `static`. The domain lives until it is dropped at the end of the
        // test.
        let (ops, domain_ops) = unsafe { (&*OPS.as_raw(), &*(*domain.as_raw()).ops) };
        assert!(ops.hw_info.is_none());
        assert!(ops.is_attach_deferred.is_none());
        assert!(ops.probe_finalize.is_none());
        assert!(ops.page_response.is_none());
        assert!(ops.domain_alloc_paging_flags.is_none());
        assert!(ops.domain_alloc_paging.is_some());
        assert!(domain_ops.set_dev_pasid.is_none());
        assert!(domain_ops.enforce_cache_coherency.is_none());
        assert!(domain_ops.attach_dev.is_some());
        Ok(())
    }

    #[test]
    fn a_domain_is_told_from_another_kind() -> Result {
        let log = Log::new()?;
        log.failing.store(7, Relaxed);
        let domain = allocate(&log, CONFIG)?;
        // SAFETY: Both domains live until the end of the test.
        let (paging, fixed) = unsafe {
            (
                DomainRef::from_raw(domain.as_raw()),
                DomainRef::from_raw(NOTHING.as_raw()),
            )
        };
        assert!(fixed.is_some_and(|fixed| fixed.kind() == DomainKind::Blocking));
        assert!(fixed.is_some_and(|fixed| fixed.data::<Paging<TestDomain>>().is_none()));
        let data = paging.and_then(|paging| paging.data::<Paging<TestDomain>>());
        assert!(data.is_some_and(|data| data.0.failing.load(Relaxed) == 7));
        Ok(())
    }

    #[test]
    fn the_core_is_told_what_a_self_mapped_domain_is_configured_for() -> Result {
        let config = domain::Config {
            aperture: Iova::new(0x1000)..=Iova::new(0x7fff_ffff),
            page_sizes: 0x20_1000,
        };
        let new = SelfMapped::allocate(config.clone(), EmptyDomain)?;
        // SAFETY: The domain is valid until it is dropped.
        let (sizes, geometry) =
            unsafe { ((*new.as_raw()).pgsize_bitmap, &(*new.as_raw()).geometry) };
        assert_eq!(sizes, 0x20_1000);
        assert_eq!(geometry.aperture_start, 0x1000);
        assert_eq!(geometry.aperture_end, 0x7fff_ffff);
        assert!(geometry.force_aperture);
        let no_size = domain::Config {
            page_sizes: 0,
            ..config
        };
        assert!(SelfMapped::allocate(no_size, EmptyDomain).err() == Some(EINVAL));
        Ok(())
    }

    #[test]
    fn an_aperture_and_page_sizes_are_as_configured() -> Result {
        let log = Log::new()?;
        let new = allocate(&log, CONFIG)?;
        let domain = new.as_raw();
        // SAFETY: The domain is valid until it is dropped.
        let (sizes, geometry) = unsafe { ((*domain).pgsize_bitmap, &(*domain).geometry) };
        assert_eq!(sizes, 0x20_1000);
        assert_eq!(geometry.aperture_start, 0);
        assert_eq!(geometry.aperture_end, (1 << 47) - 1);
        assert!(geometry.force_aperture);
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
                shape: X86_64Shape { width: 39, ..SHAPE },
                last: Iova::new(last),
                ..CONFIG
            };
            let domain = allocate(&log, config)?;
            // SAFETY: The domain is valid until it is dropped.
            let geometry = unsafe { &(*domain.as_raw()).geometry };
            assert_eq!(geometry.aperture_start, 0);
            assert_eq!(geometry.aperture_end, end);
            assert!(geometry.force_aperture);
        }
        Ok(())
    }

    #[test]
    fn every_width_makes_a_table_or_is_refused() -> Result {
        let log = Log::new()?;
        for levels in [Levels::Four, Levels::Five] {
            for width in 0..=u8::MAX {
                let config = pt::Config {
                    shape: X86_64Shape { levels, width },
                    ..CONFIG
                };
                let domain = Paging::<TestDomain>::allocate(config, |table| {
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
        let new = allocate(&log, CONFIG)?;
        let domain = new.as_raw();
        let (iova, paddr, size) = (0x7fff_f000, 0x1234_5000, 0x2000);
        let prot = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;
        // SAFETY: The domain is valid until it is dropped. No device uses it, so the physical
        // address may be any.
        let mapped =
            unsafe { bindings::iommu_map(domain, iova, paddr, size, prot, bindings::GFP_KERNEL) };
        assert_eq!(mapped, 0);
        // SAFETY: The domain is valid until it is dropped.
        let physical = unsafe { bindings::iommu_iova_to_phys(domain, 0x8000_0123) };
        assert_eq!(physical, 0x1234_6123);
        assert_eq!(log.flushes.load(Relaxed), 0);
        // SAFETY: The domain is valid until it is dropped.
        let (unmapped, physical) = unsafe {
            let unmapped = bindings::iommu_unmap(domain, iova, size);
            let physical = bindings::iommu_iova_to_phys(domain, 0x8000_0123);
            (unmapped, physical)
        };
        assert_eq!(unmapped, size);
        assert_eq!(physical, 0);
        assert_eq!(log.flushes.load(Relaxed), 1);
        assert_eq!(log.range(), (0x7fff_f000, 0x8000_0fff));
        Ok(())
    }

    /// Maps 2 MiB by 4 KiB pages and unmaps them by one call, which takes a page out of the table.
    /// The driver then flushes.
    ///
    /// Returns whether the gather still has that page after the flush.
    fn unmap_a_table(log: &Arc<Log>) -> Result<bool> {
        const BYTES: usize = 0x20_0000;
        let small = pt::Config {
            page_sizes: 0x1000,
            ..CONFIG
        };
        let new = allocate(log, small)?;
        let domain = new.as_raw();
        let prot = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;
        let mut gather = bindings::iommu_iotlb_gather::default();
        // SAFETY: The domain is valid until it is dropped, and no device uses it. The gather's list
        // is initialised before it is used, and the gather does not move. The operation is called
        // in the same way as the core does.
        let (mapped, unmapped, held) = unsafe {
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
            if let Some(sync) = (*(*domain).ops).iotlb_sync {
                sync(domain, &mut gather);
            }
            let gather = Gather::from_raw(&mut gather);
            let held = gather.holds_one_page();
            if held {
                gather.free_pages();
            }
            (mapped, unmapped, held)
        };
        assert_eq!((mapped, unmapped), (0, BYTES));
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
        drop(allocate(&log, CONFIG)?);
        assert_eq!(log.released.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_failed_allocation_leaves_nothing() -> Result {
        let log = Log::new()?;
        let refused = Paging::<TestDomain>::allocate(CONFIG, |_| Err::<TestDomain, _>(EBUSY));
        assert!(refused.err() == Some(EBUSY));
        let no_size = pt::Config {
            page_sizes: 0x10_0000,
            ..CONFIG
        };
        let refused = allocate(&log, no_size);
        assert!(refused.err() == Some(EINVAL));
        assert_eq!(log.released.load(Relaxed), 0);
        Ok(())
    }
}
