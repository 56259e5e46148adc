// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the formats of generic page tables, of those that are built in. RISC-V's format
//! is left to the tests of the mock driver, as both may be modules.

// Where a format is not built in, what only its tests use is dead.
#[allow(dead_code)]
#[macros::kunit_tests(rust_kernel_iommu_formats)]
mod tests {
    use crate::{
        bindings,
        error::to_result,
        ffi::c_int,
        io::PhysAddr,
        iommu::{
            domain::{
                Domain,
                NewDomain, //
            },
            gather::{
                FlushOutcome,
                Gather, //
            },
            kunit::driver::{
                Log,
                TestDriver, //
            },
            probed::AttachTarget,
            pt::{
                self,
                DirtyTracking,
                Format,
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
            atomic::{
                ordering::Relaxed,
                Atomic, //
            },
            Arc, //
        },
    };
    use core::marker::PhantomData;
    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    use pt::{
        AmdV1,
        AmdV1Info,
        StartingLevel, //
    };
    #[cfg(CONFIG_IOMMU_PT_VTDSS = "y")]
    use pt::{
        VtdSs,
        VtdSsShape, //
    };

    const PAGE: usize = 0x1000;
    const LARGE_PAGE: usize = 0x20_0000;
    /// Two tables of the second level meet here, in every format.
    const BORDER: usize = 0x4000_0000;

    /// What a domain notes besides [`Log`].
    struct Notes {
        log: Arc<Log>,
        /// How often the tracking of dirty pages was switched on, less how often it was switched
        /// off.
        tracking: Atomic<i32>,
        /// How often the table has grown.
        growths: Atomic<u32>,
        /// What the driver was told last of a table that grows.
        mode: Atomic<u32>,
        root: Atomic<u64>,
    }

    impl Notes {
        fn new() -> Result<Arc<Notes>> {
            Ok(Arc::new(
                Notes {
                    log: Log::new()?,
                    tracking: Atomic::new(0),
                    growths: Atomic::new(0),
                    mode: Atomic::new(0),
                    root: Atomic::new(0),
                },
                GFP_KERNEL,
            )?)
        }

        fn track(&self, tracking: DirtyTracking) {
            match tracking {
                DirtyTracking::On => self.tracking.fetch_add(1, Relaxed),
                DirtyTracking::Off => self.tracking.fetch_sub(1, Relaxed),
            };
        }
    }

    /// A domain whose table keeps its depth.
    struct Fixed<F>(Arc<Notes>, PhantomData<fn() -> F>);

    #[vtable]
    impl<F: Format> Domain for Fixed<F> {
        type Driver = TestDriver;

        fn attach(&self, _target: &AttachTarget<'_, TestDriver>) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}
    }

    #[vtable]
    impl<F: Format> TableDomain for Fixed<F> {
        type Format = F;

        fn flush(&self, gather: &Gather) -> FlushOutcome {
            self.0.log.flushed(gather);
            FlushOutcome::Flushed
        }

        fn release(&self) -> TableFate {
            TableFate::Free
        }

        fn set_dirty_tracking(&self, tracking: DirtyTracking) -> Result {
            self.0.track(tracking);
            Ok(())
        }
    }

    fn config<F: Format>(shape: F::Shape) -> pt::Config<F> {
        pt::Config {
            shape,
            output_width: 52,
            features: pt::Features::FLUSH_RANGE,
            last: Iova::new((1 << 57) - 1),
            page_sizes: (PAGE | LARGE_PAGE) as u64,
            node: pt::Node::ANY,
        }
    }

    /// A domain that is used as the core uses one. No device is attached to it.
    struct Used(NewDomain<TestDriver>);

    impl Used {
        fn fixed<F: Format>(notes: &Arc<Notes>, shape: F::Shape) -> Result<(Used, F::Info)> {
            let mut told = None;
            let new = Paging::allocate(config::<F>(shape), |info| {
                told = Some(info);
                Ok(Fixed::<F>(notes.clone(), PhantomData))
            })?;
            Ok((Used(new), told.ok_or(EINVAL)?))
        }

        fn map(&self, iova: usize, phys: PhysAddr, bytes: usize) -> Result {
            let prot = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;
            // SAFETY: The domain is valid. No device uses it, so the physical address may be any.
            to_result(unsafe {
                bindings::iommu_map(
                    self.0.as_raw(),
                    iova,
                    phys,
                    bytes,
                    prot,
                    bindings::GFP_KERNEL,
                )
            })
        }

        fn unmap(&self, iova: usize, bytes: usize) -> usize {
            // SAFETY: The domain is valid.
            unsafe { bindings::iommu_unmap(self.0.as_raw(), iova, bytes) }
        }

        /// The physical address; 0 if nothing is mapped.
        fn phys(&self, iova: usize) -> PhysAddr {
            // SAFETY: The domain is valid.
            unsafe { bindings::iommu_iova_to_phys(self.0.as_raw(), iova as u64) }
        }
    }

    // What asserts something stands after a test: there `assert` is that of KUnit.
    #[test]
    fn x86_64_maps_and_unmaps() -> Result {
        let shape = X86_64Shape {
            levels: Levels::Four,
            width: 47,
        };
        try_plain::<X86_64>(shape)
    }

    /// Maps on both sides of a border between tables, and unmaps one page at a time.
    fn try_a_border(domain: &Used, log: &Log) -> Result {
        let first = BORDER - PAGE;
        domain.map(first, 0x1234_5000, 2 * PAGE)?;
        assert_eq!(domain.phys(first - 1), 0);
        assert_eq!(domain.phys(first), 0x1234_5000);
        assert_eq!(domain.phys(BORDER + PAGE - 1), 0x1234_6fff);
        assert_eq!(domain.phys(BORDER + PAGE), 0);
        assert_eq!(log.flushes.load(Relaxed), 0);

        assert_eq!(domain.unmap(BORDER, PAGE), PAGE);
        assert_eq!(log.flushes.load(Relaxed), 1);
        assert_eq!(log.range(), (0x4000_0000, 0x4000_0fff));
        assert_eq!(domain.phys(BORDER), 0);
        assert_eq!(domain.phys(first + 0x234), 0x1234_5234);
        assert_eq!(domain.unmap(first, PAGE), PAGE);
        assert_eq!(log.range(), (0x3fff_f000, 0x3fff_ffff));
        assert_eq!(domain.phys(first), 0);
        Ok(())
    }

    /// Maps a large page beside a small one, and unmaps both by one call.
    fn try_a_large_page(domain: &Used, log: &Log) -> Result {
        let flushes = log.flushes.load(Relaxed);
        domain.map(LARGE_PAGE, 0x4000_0000, LARGE_PAGE)?;
        domain.map(2 * LARGE_PAGE, 0x1234_5000, PAGE)?;
        assert_eq!(domain.phys(2 * LARGE_PAGE - 1), 0x401f_ffff);
        assert_eq!(domain.phys(2 * LARGE_PAGE), 0x1234_5000);
        let both = LARGE_PAGE + PAGE;
        assert_eq!(domain.unmap(LARGE_PAGE, both), both);
        assert_eq!(domain.phys(LARGE_PAGE), 0);
        assert_eq!(domain.phys(2 * LARGE_PAGE), 0);
        assert_eq!(log.flushes.load(Relaxed), flushes + 1);
        assert_eq!(log.range(), (0x20_0000, 0x40_0fff));
        Ok(())
    }

    /// Tries a format without dirty bits, whose tables keep their depth.
    fn try_plain<F: Format>(shape: F::Shape) -> Result {
        let notes = Notes::new()?;
        let (domain, _) = Used::fixed::<F>(&notes, shape)?;
        try_a_border(&domain, &notes.log)?;
        try_a_large_page(&domain, &notes.log)?;
        assert!(read_dirty(&domain, LARGE_PAGE, LARGE_PAGE, Marks::Cleared) == Err(EOPNOTSUPP));
        Ok(())
    }

    /// Whether reading clears the notes of dirty pages.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Marks {
        Cleared,
        Kept,
    }

    /// Reads which pages are dirty. Returns the range that must be flushed because marks were
    /// cleared: that of the dirty pages. [`None`] if there is none.
    fn read_dirty(
        domain: &Used,
        iova: usize,
        bytes: usize,
        marks: Marks,
    ) -> Result<Option<(usize, usize)>> {
        let flags = match marks {
            Marks::Cleared => 0,
            Marks::Kept => bindings::IOMMU_DIRTY_NO_CLEAR as usize,
        };
        let mut gather = bindings::iommu_iotlb_gather {
            start: usize::MAX,
            ..Default::default()
        };
        let mut dirty = bindings::iommu_dirty_bitmap {
            bitmap: core::ptr::null_mut(),
            gather: &raw mut gather,
        };
        // SAFETY: The domain is valid, and its operations are `static`. The bitmap may be null; the
        // gather outlives the call.
        to_result(unsafe {
            let ops = (*domain.0.as_raw()).dirty_ops;
            let read = (*ops).read_and_clear_dirty.ok_or(EINVAL)?;
            read(domain.0.as_raw(), iova, bytes, flags, &mut dirty)
        })?;
        Ok((gather.end != 0).then_some((gather.start, gather.end)))
    }

    /// Switches the tracking of dirty pages, as the core does.
    #[cfg(CONFIG_IOMMUFD_TEST)]
    fn set_tracking(domain: &Used, tracking: DirtyTracking) -> Result {
        // SAFETY: The domain is valid, and its operations are `static`.
        to_result(unsafe {
            let ops = (*domain.0.as_raw()).dirty_ops;
            let set = (*ops).set_dirty_tracking.ok_or(EINVAL)?;
            set(domain.0.as_raw(), tracking == DirtyTracking::On)
        })
    }

    /// Marks a page as dirty, in place of an IOMMU.
    #[cfg(CONFIG_IOMMUFD_TEST)]
    fn make_dirty(domain: &Used, iova: usize) -> Result {
        let table: *mut bindings::pt_iommu = domain.0.as_raw().cast();
        // SAFETY: The domain is valid, and begins with the table.
        to_result(unsafe {
            let set = (*(*table).ops).set_dirty.ok_or(EINVAL)?;
            set(table, iova as u64)
        })
    }

    /// Tries the dirty bits of a format that has them.
    #[cfg(CONFIG_IOMMUFD_TEST)]
    fn try_dirty_bits(domain: &Used, notes: &Notes) -> Result {
        domain.map(BORDER - PAGE, 0x1234_5000, 2 * PAGE)?;
        set_tracking(domain, DirtyTracking::On)?;
        assert_eq!(notes.tracking.load(Relaxed), 1);
        let read = |marks| read_dirty(domain, BORDER - PAGE, 2 * PAGE, marks);
        assert!(read(Marks::Cleared)?.is_none());

        make_dirty(domain, BORDER)?;
        assert!(read(Marks::Kept)?.is_none());
        assert!(read(Marks::Cleared)? == Some((BORDER, BORDER + PAGE - 1)));
        assert!(read(Marks::Cleared)?.is_none());
        // The page is mapped as before.
        assert_eq!(domain.phys(BORDER), 0x1234_6000);

        set_tracking(domain, DirtyTracking::Off)?;
        assert_eq!(notes.tracking.load(Relaxed), 0);
        assert_eq!(domain.unmap(BORDER - PAGE, 2 * PAGE), 2 * PAGE);
        Ok(())
    }

    #[cfg(CONFIG_IOMMU_PT_VTDSS = "y")]
    #[test]
    fn vtdss_maps_and_unmaps() -> Result {
        for (levels, width) in [(3, 39), (4, 48), (5, 57)] {
            let notes = Notes::new()?;
            let shape = VtdSsShape { levels, width };
            let (domain, info) = Used::fixed::<VtdSs>(&notes, shape)?;
            assert_eq!(info.address_width, levels - 2);
            assert!(info.root != 0 && info.root % PAGE as u64 == 0);
            try_a_border(&domain, &notes.log)?;
            try_a_large_page(&domain, &notes.log)?;
        }
        Ok(())
    }

    #[cfg(CONFIG_IOMMU_PT_VTDSS = "y")]
    #[test]
    fn vtdss_has_every_width_of_its_depths_and_no_other() -> Result {
        let mut made = 0;
        for levels in 0..=6 {
            for width in 0..=64 {
                let shape = VtdSsShape { levels, width };
                match Used::fixed::<VtdSs>(&Notes::new()?, shape) {
                    Ok((domain, _)) => {
                        // SAFETY: The domain is valid.
                        let geometry = unsafe { &(*domain.0.as_raw()).geometry };
                        assert_eq!(geometry.aperture_end, (1 << width) - 1);
                        made += 1;
                    }
                    Err(error) => assert!(error == EINVAL),
                }
            }
        }
        // Ten widths of each depth.
        assert_eq!(made, 30);
        Ok(())
    }

    #[cfg(all(CONFIG_IOMMU_PT_VTDSS = "y", CONFIG_IOMMUFD_TEST))]
    #[test]
    fn vtdss_notes_dirty_pages() -> Result {
        let notes = Notes::new()?;
        let shape = VtdSsShape {
            levels: 4,
            width: 48,
        };
        let (domain, _) = Used::fixed::<VtdSs>(&notes, shape)?;
        try_dirty_bits(&domain, &notes)
    }

    /// A domain whose table grows.
    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    struct Growing(Arc<Notes>);

    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    #[vtable]
    impl Domain for Growing {
        type Driver = TestDriver;

        fn attach(&self, _target: &AttachTarget<'_, TestDriver>) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}
    }

    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    #[vtable]
    impl TableDomain for Growing {
        type Format = AmdV1;

        fn flush(&self, gather: &Gather) -> FlushOutcome {
            self.0.log.flushed(gather);
            FlushOutcome::Flushed
        }

        fn release(&self) -> TableFate {
            TableFate::Free
        }

        fn set_dirty_tracking(&self, tracking: DirtyTracking) -> Result {
            self.0.track(tracking);
            Ok(())
        }

        fn change_top(&self, info: AmdV1Info) {
            self.0.growths.fetch_add(1, Relaxed);
            self.0.mode.store(info.mode.into(), Relaxed);
            self.0.root.store(info.root, Relaxed);
        }
    }

    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    fn growing(notes: &Arc<Notes>, level: StartingLevel) -> Result<Used> {
        let new = Paging::<Growing>::allocate(config::<AmdV1>(level), |info| {
            notes.mode.store(info.mode.into(), Relaxed);
            notes.root.store(info.root, Relaxed);
            Ok(Growing(notes.clone()))
        })?;
        Ok(Used(new))
    }

    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    #[test]
    fn amdv1_maps_and_unmaps() -> Result {
        for (level, mode) in [
            (StartingLevel::Three, 3),
            (StartingLevel::Four, 4),
            (StartingLevel::Five, 5),
            (StartingLevel::Six, 6),
        ] {
            let notes = Notes::new()?;
            let domain = growing(&notes, level)?;
            try_a_border(&domain, &notes.log)?;
            try_a_large_page(&domain, &notes.log)?;
            assert_eq!(notes.growths.load(Relaxed), 0);
            assert_eq!(notes.mode.load(Relaxed), mode);
        }
        Ok(())
    }

    #[cfg(CONFIG_IOMMU_PT_AMDV1 = "y")]
    #[test]
    fn amdv1_grows_and_tells_the_driver() -> Result {
        let notes = Notes::new()?;
        let domain = growing(&notes, StartingLevel::Two)?;
        assert_eq!(notes.mode.load(Relaxed), 2);
        let first_root = notes.root.load(Relaxed);
        // A table of two levels ends at the border.
        try_a_border(&domain, &notes.log)?;
        assert_eq!(notes.growths.load(Relaxed), 1);
        assert_eq!(notes.mode.load(Relaxed), 3);
        let second_root = notes.root.load(Relaxed);
        assert!(second_root != first_root && second_root % PAGE as u64 == 0);

        // What was mapped stays so when the table grows by two levels at a time.
        domain.map(PAGE, 0x1234_5000, PAGE)?;
        domain.map(1 << 50, 0x5432_1000, PAGE)?;
        assert_eq!(notes.growths.load(Relaxed), 2);
        assert_eq!(notes.mode.load(Relaxed), 5);
        assert!(notes.root.load(Relaxed) != second_root);
        assert_eq!(domain.phys(PAGE), 0x1234_5000);
        assert_eq!(domain.phys(1 << 50), 0x5432_1000);
        assert_eq!(domain.unmap(PAGE, PAGE), PAGE);
        assert_eq!(domain.unmap(1 << 50, PAGE), PAGE);
        Ok(())
    }

    #[cfg(all(CONFIG_IOMMU_PT_AMDV1 = "y", CONFIG_IOMMUFD_TEST))]
    #[test]
    fn amdv1_notes_dirty_pages() -> Result {
        let notes = Notes::new()?;
        let domain = growing(&notes, StartingLevel::Three)?;
        try_dirty_bits(&domain, &notes)
    }
}
