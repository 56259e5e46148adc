// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what the core asks of a driver, with a driver that is registered, and platform
//! devices behind its IOMMUs.

#[macros::kunit_tests(rust_kernel_iommu_callbacks)]
mod tests {
    use crate::{
        alloc::Flags,
        bindings,
        device::Device,
        error::to_result,
        io::PhysAddr,
        iommu::{
            device::{
                Registration,
                Settings, //
            },
            domain::{
                Config,
                Domain,
                Mapped,
                Mapping,
                NewDomain,
                PagingDomain,
                Pasid,
                SelfMapped,
                StaticDomain,
                StaticDomainOps,
                StaticKind,
                Unmapping, //
            },
            driver::{
                DefaultDomain,
                Driver,
                Grouping,
                SoundDriver, //
            },
            fault::{
                PageResponse,
                PageResponseCode, //
            },
            fwspec::{
                self,
                Description,
                PhandleArgs, //
            },
            gather::Gather,
            ops::Ops,
            probed::{
                AttachTarget,
                Probed,
                Probing, //
            },
            registry,
            Iova, //
        },
        platform::owned::{
            Id,
            OwnedDevice, //
        },
        prelude::*,
        str::CString,
        sync::{
            atomic::{
                ordering::Relaxed,
                Atomic, //
            },
            Arc, //
        },
    };
    use core::ptr;

    /// What the core has asked of an IOMMU.
    struct Calls {
        probes: Atomic<u32>,
        finalized: Atomic<u32>,
        /// Attaches to the identity domain.
        attaches: Atomic<u32>,
        releases: Atomic<u32>,
        /// Answers to page requests that were failures.
        failures: Atomic<u32>,
        /// The group and the PASID of the last answer.
        group: Atomic<u32>,
        pasid: Atomic<u32>,
    }

    impl Calls {
        fn new() -> Result<Arc<Calls>> {
            Ok(Arc::new(
                Calls {
                    probes: Atomic::new(0),
                    finalized: Atomic::new(0),
                    attaches: Atomic::new(0),
                    releases: Atomic::new(0),
                    failures: Atomic::new(0),
                    group: Atomic::new(0),
                    pasid: Atomic::new(0),
                },
                GFP_KERNEL,
            )?)
        }
    }

    /// A driver of IOMMUs that put all their devices into one group.
    struct Whole;

    // SAFETY: There is no hardware, so no device does DMA, and nothing caches translations. The
    // devices are dropped before their IOMMU's registration. No PCI function is kept.
    unsafe impl SoundDriver for Whole {}

    #[vtable]
    impl Driver for Whole {
        type Instance = Arc<Calls>;
        /// The ids of the device.
        type Endpoint = [u32; 2];

        const GROUPING: Grouping = Grouping::PerInstance;

        fn probe_device(calls: &Arc<Calls>, device: &Probing<'_>) -> Result<Arc<[u32; 2]>> {
            let [first, second] = device.ids() else {
                return Err(ENODEV);
            };
            let endpoint = Arc::new([*first, *second], GFP_KERNEL)?;
            calls.probes.fetch_add(1, Relaxed);
            Ok(endpoint)
        }

        fn alloc_domain(_device: &Probed<'_, Self>) -> Result<NewDomain<Self>> {
            Err(ENOMEM)
        }

        fn release_device(target: &AttachTarget<'_, Self>) {
            target.instance().releases.fetch_add(1, Relaxed);
        }

        fn probe_finalize(device: &Probed<'_, Self>) {
            device.instance().finalized.fetch_add(1, Relaxed);
        }

        fn default_domain(_device: &Probed<'_, Self>) -> DefaultDomain {
            DefaultDomain::Identity
        }

        fn of_xlate(description: &mut Description<'_>, args: &PhandleArgs) -> Result {
            let [bus, function] = args.args() else {
                return Err(EINVAL);
            };
            description.add_ids(&[*bus])?;
            description.add_ids(&[*function])
        }

        fn page_response(device: &Probed<'_, Self>, response: &PageResponse) {
            let calls = device.instance();
            if response.code() == PageResponseCode::Failure {
                calls.failures.fetch_add(1, Relaxed);
            }
            calls.group.store(response.group(), Relaxed);
            calls.pasid.store(response.pasid().as_u32(), Relaxed);
        }
    }

    struct Identity;

    #[vtable]
    impl StaticDomainOps for Identity {
        type Driver = Whole;

        const KIND: StaticKind = StaticKind::Identity;

        fn attach(target: &AttachTarget<'_, Whole>) -> Result {
            target.instance().attaches.fetch_add(1, Relaxed);
            Ok(())
        }
    }

    struct Blocking;

    #[vtable]
    impl StaticDomainOps for Blocking {
        type Driver = Whole;

        const KIND: StaticKind = StaticKind::Blocking;

        fn attach(_target: &AttachTarget<'_, Whole>) -> Result {
            Ok(())
        }
    }

    static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
    static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
    static OPS: Ops<Whole> = Ops::new().with_identity(&IDENTITY).with_blocking(&BLOCKING);

    fn ops() -> &'static bindings::iommu_ops {
        // SAFETY: The ops are `static`, and nobody writes them.
        unsafe { &*OPS.as_raw() }
    }

    // What asserts something stands after a test: there `assert` is that of KUnit.
    #[test]
    fn devices_come_and_go() -> Result {
        let calls = Calls::new()?;
        let machine = Machine::new(0, &calls)?;
        assert_eq!(calls.probes.load(Relaxed), 2);
        assert_eq!(calls.finalized.load(Relaxed), 2);
        assert_eq!(calls.attaches.load(Relaxed), 2);
        assert_eq!(calls.releases.load(Relaxed), 0);
        drop(machine);
        assert_eq!(calls.releases.load(Relaxed), 2);
        Ok(())
    }

    /// An IOMMU with two devices behind it. The fields are dropped in this order.
    struct Machine {
        devices: [OwnedDevice; 2],
        _registration: Registration<Whole>,
        _parent: OwnedDevice,
    }

    impl Machine {
        fn new(number: u32, calls: &Arc<Calls>) -> Result<Machine> {
            let parent = OwnedDevice::new(c"kunit-iommu", Id::Number(number), &[], |_| Ok(()))?;
            let settings = Settings {
                name: &CString::try_from_fmt(fmt!("kunit-iommu{number}"))?,
                parent: Some(parent.dev()),
                attributes: None,
                max_pasids: 0,
            };
            let registration = Registration::new(&OPS, settings, calls.clone())?;
            let device = |function| {
                let id = Id::Number(2 * number + function);
                OwnedDevice::new(c"kunit-iommu-client", id, &[], |device| {
                    fwspec::describe(device, parent.dev(), &[])?;
                    assert!(translate(device.dev(), &[number]) == Err(EINVAL));
                    translate(device.dev(), &[number, function])
                })
            };
            Ok(Machine {
                devices: [device(0)?, device(1)?],
                _registration: registration,
                _parent: parent,
            })
        }

        /// The groups of the devices.
        fn groups(&self) -> [*mut bindings::iommu_group; 2] {
            self.devices.each_ref().map(|device| {
                // SAFETY: The device is valid. Its group does not change while it is there.
                unsafe { (*device.dev().as_raw()).iommu_group }
            })
        }
    }

    /// Lets the driver read a reference to its IOMMU, as the reader of the device tree does for a
    /// device that was not added yet.
    fn translate(dev: &Device, args: &[u32]) -> Result {
        let mut raw = bindings::of_phandle_args {
            args_count: args.len() as i32,
            ..bindings::of_phandle_args::default()
        };
        for (to, from) in raw.args.iter_mut().zip(args) {
            *to = *from;
        }
        let of_xlate = ops().of_xlate.ok_or(EINVAL)?;
        // SAFETY: The device is valid, and its description was begun. Nobody else uses it, as the
        // device was not added. The arguments are valid.
        registry::locked(|| to_result(unsafe { of_xlate(dev.as_raw(), &raw) }))
    }

    #[test]
    fn ids_are_those_that_the_driver_reads() -> Result {
        let machine = Machine::new(3, &Calls::new()?)?;
        for (number, device) in machine.devices.iter().enumerate() {
            // SAFETY: `Whole` has probed the device, and releases it when `machine` is dropped.
            let probed = unsafe { Probed::<Whole>::from_raw(device.dev().as_raw()) };
            assert_eq!(*probed.endpoint(), [3, number as u32]);
        }
        Ok(())
    }

    #[test]
    fn devices_of_an_instance_share_a_group() -> Result {
        let calls = Calls::new()?;
        let [one, other] = [Machine::new(0, &calls)?, Machine::new(1, &calls)?];
        let [first, second] = one.groups();
        assert!(!first.is_null());
        assert!(ptr::eq(first, second));
        let [third, fourth] = other.groups();
        assert!(!third.is_null() && !ptr::eq(first, third));
        assert!(ptr::eq(third, fourth));
        Ok(())
    }

    #[test]
    fn answers_to_page_requests_reach_the_driver() -> Result {
        let calls = Calls::new()?;
        let machine = Machine::new(0, &calls)?;
        let [device, _] = &machine.devices;
        let respond = ops().page_response.ok_or(EINVAL)?;
        for (code, failures) in [
            (
                bindings::iommu_page_response_code_IOMMU_PAGE_RESP_SUCCESS,
                0,
            ),
            (
                bindings::iommu_page_response_code_IOMMU_PAGE_RESP_INVALID,
                0,
            ),
            (
                bindings::iommu_page_response_code_IOMMU_PAGE_RESP_FAILURE,
                1,
            ),
        ] {
            let mut message = bindings::iommu_page_response {
                pasid: 5,
                grpid: 0x100 + code,
                code,
            };
            // SAFETY: `Whole` has probed the device and not released it. The message is valid. The
            // driver does not get the fault, which may be null.
            unsafe { respond(device.dev().as_raw(), ptr::null_mut(), &mut message) };
            assert_eq!(calls.failures.load(Relaxed), failures);
            assert_eq!(calls.group.load(Relaxed), 0x100 + code);
            assert_eq!(calls.pasid.load(Relaxed), 5);
        }
        Ok(())
    }

    /// A domain whose DMA can be made coherent, or not.
    struct Coherence {
        enforced: Atomic<u32>,
        limit: u32,
    }

    #[vtable]
    impl Domain for Coherence {
        type Driver = Whole;

        fn attach(&self, _target: &AttachTarget<'_, Whole>) -> Result {
            Err(ENODEV)
        }

        fn set_pasid(&self, _target: &AttachTarget<'_, Whole>, _pasid: Pasid) -> Result {
            Err(ENODEV)
        }

        fn flush_all(&self) {}

        fn enforce_cache_coherency(&self) -> bool {
            self.enforced.fetch_add(1, Relaxed) < self.limit
        }
    }

    #[vtable]
    impl PagingDomain for Coherence {
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

    #[test]
    fn coherence_is_what_the_driver_says() -> Result {
        let config = Config {
            aperture: Iova::new(0)..=Iova::new(0xffff),
            page_sizes: 0x1000,
        };
        let data = Coherence {
            enforced: Atomic::new(0),
            limit: 1,
        };
        let domain = SelfMapped::allocate(config, data)?;
        // SAFETY: The domain is valid until it is dropped, and its ops are `static`.
        let (first, second) = unsafe {
            let enforce = (*(*domain.as_raw()).ops).enforce_cache_coherency;
            let enforce = enforce.ok_or(EINVAL)?;
            (enforce(domain.as_raw()), enforce(domain.as_raw()))
        };
        assert!(first);
        assert!(!second);
        Ok(())
    }
}
