// SPDX-License-Identifier: GPL-2.0

//! An IOMMU, and moving endpoints from domain to domain.

use super::{
    endpoint::{
        Endpoint,
        EndpointIds,
        Left,
        Place, //
    },
    protocol::{
        DomainId,
        EndpointId,
        MapFlags,
        Probe,
        Properties,
        Property,
        Translation, //
    },
    requests::Requests, //
};
use core::{
    mem::offset_of,
    ops::RangeInclusive, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    ida::Ida,
    iommu::{
        domain::Prot,
        Iova, //
    },
    new_mutex,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    uapi::virtio_iommu_config as Layout,
    virtio::{
        self,
        device::Feature, //
    },
};

/// The features that the driver knows.
pub(crate) const FEATURES: &[Feature] = &[
    INPUT_RANGE,
    DOMAIN_RANGE,
    MAP_UNMAP,
    PROBE,
    MMIO,
    BYPASS_CONFIG,
];

const INPUT_RANGE: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_INPUT_RANGE);
const DOMAIN_RANGE: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_DOMAIN_RANGE);
const MAP_UNMAP: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_MAP_UNMAP);
const PROBE: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_PROBE);
const MMIO: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_MMIO);
const BYPASS_CONFIG: Feature = Feature::new(kernel::uapi::VIRTIO_IOMMU_F_BYPASS_CONFIG);

/// What the device says of itself.
#[derive(Clone)]
pub(crate) struct Report {
    /// The IOVAs that can be mapped.
    pub(crate) aperture: RangeInclusive<Iova>,
    /// Bit n: blocks of 2^n bytes can be mapped.
    pub(crate) page_sizes: u64,
    /// What a mapping can allow.
    flags: MapFlags,
    /// The numbers that domains can have.
    domains: RangeInclusive<u32>,
    /// Bytes of an endpoint's properties; 0 when it has none.
    properties: usize,
    /// Whether a domain can let DMA through untranslated.
    has_bypass: bool,
}

impl Report {
    /// Reads what the device says.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it cannot be used.
    pub(crate) fn read(device: &virtio::Device<Bound>) -> Result<Report> {
        let config = device.config::<Layout>()?;
        if !device.has(MAP_UNMAP) {
            return Err(ENODEV);
        }
        const INPUT: usize = offset_of!(Layout, input_range);
        const DOMAIN: usize = offset_of!(Layout, domain_range);
        let aperture = if device.has(INPUT_RANGE) {
            Iova::new(config.read::<u64>(INPUT))..=Iova::new(config.read::<u64>(INPUT + 8))
        } else {
            Iova::new(0)..=Iova::new(u64::MAX)
        };
        let domains = if device.has(DOMAIN_RANGE) {
            config.read::<u32>(DOMAIN)..=config.read::<u32>(DOMAIN + 4)
        } else {
            0..=u32::MAX
        };
        let mut flags = MapFlags::READ.with(MapFlags::WRITE);
        if device.has(MMIO) {
            flags = flags.with(MapFlags::MMIO);
        }
        let properties = if device.has(PROBE) {
            config.read::<u32>(offset_of!(Layout, probe_size)) as usize
        } else {
            0
        };
        Ok(Report {
            aperture,
            page_sizes: config.read::<u64>(offset_of!(Layout, page_size_mask)),
            flags,
            domains,
            properties,
            has_bypass: device.has(BYPASS_CONFIG),
        })
    }
}

/// The numbers of domains.
struct Numbers {
    blocking: DomainId,
    /// [`None`] when the device has no such domain.
    identity: Option<DomainId>,
    /// All others.
    mapped: RangeInclusive<u32>,
}

/// What an ATTACH says besides the endpoint.
#[derive(Clone, Copy)]
struct Goal {
    number: DomainId,
    translation: Translation,
}

/// The number of a domain with mappings. Whoever drops it has taken all endpoints out of the
/// domain.
pub(crate) struct TakenNumber {
    iommu: Arc<Iommu>,
    id: DomainId,
}

impl TakenNumber {
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more.
    pub(crate) fn take(iommu: &Arc<Iommu>) -> Result<TakenNumber> {
        let numbers = iommu.numbers.mapped.clone();
        Ok(TakenNumber {
            id: DomainId(iommu.taken.take(numbers, GFP_KERNEL)?),
            iommu: iommu.clone(),
        })
    }

    pub(crate) fn id(&self) -> DomainId {
        self.id
    }
}

impl Drop for TakenNumber {
    fn drop(&mut self) {
        self.iommu.taken.give_back(self.id.0);
    }
}

/// An IOMMU.
#[pin_data]
pub(crate) struct Iommu {
    dev: ARef<Device>,
    pub(crate) report: Report,
    numbers: Numbers,
    #[pin]
    taken: Ida,
    pub(crate) requests: Requests,
    /// Held while an endpoint is moved: so endpoints enter and leave domains one by one.
    #[pin]
    moving: Mutex<()>,
}

impl Iommu {
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENODEV`]: the device has too few domains, or maps no single page.
    pub(crate) fn new(dev: &Device, report: Report, requests: Requests) -> Result<Arc<Iommu>> {
        let numbers = Iommu::settle_numbers(&report)?;
        // The smallest block. The DMA API maps single pages.
        let maps_pages = report.page_sizes.trailing_zeros() as usize <= PAGE_SHIFT;
        if !maps_pages || report.aperture.is_empty() {
            return Err(ENODEV);
        }
        Arc::pin_init(
            pin_init!(Iommu {
                dev: dev.into(),
                report,
                numbers,
                taken <- Ida::new(),
                requests,
                moving <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// Which number is for what: the lowest ones for the domains that are always there.
    fn settle_numbers(report: &Report) -> Result<Numbers> {
        let mut free = report.domains.clone();
        let blocking = DomainId(free.next().ok_or(ENODEV)?);
        let identity = if report.has_bypass {
            Some(DomainId(free.next().ok_or(ENODEV)?))
        } else {
            None
        };
        if free.is_empty() {
            return Err(ENODEV);
        }
        Ok(Numbers {
            blocking,
            identity,
            mapped: free,
        })
    }

    /// The device that the IOMMU is, for messages.
    pub(crate) fn dev(&self) -> &Device {
        &self.dev
    }

    pub(crate) fn has_identity(&self) -> bool {
        self.numbers.identity.is_some()
    }

    /// What a mapping is to allow.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the device has no such mappings.
    #[inline]
    pub(crate) fn map_flags(&self, prot: Prot) -> Result<MapFlags> {
        let mut flags = MapFlags::NONE;
        if prot.contains(Prot::READ) {
            flags = flags.with(MapFlags::READ);
        }
        if prot.contains(Prot::WRITE) {
            flags = flags.with(MapFlags::WRITE);
        }
        if prot.contains(Prot::MMIO) {
            flags = flags.with(MapFlags::MMIO);
        }
        if self.report.flags.contains(flags) {
            Ok(flags)
        } else {
            Err(EINVAL)
        }
    }

    /// Asks for the properties of an endpoint.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], what the device answers, or [`EINVAL`]: what it says makes no sense.
    pub(crate) fn properties(&self, endpoint: EndpointId) -> Result<KVec<Property>> {
        let mut list = KVec::new();
        if self.report.properties == 0 {
            return Ok(list);
        }
        let probe = Probe::new(endpoint);
        self.requests
            .probe(&probe, self.report.properties, |bytes| {
                for property in Properties::new(bytes) {
                    match property {
                        Property::Reserved(_) | Property::Msi(_) => {}
                        Property::Unknown(kind) => dev_warn!(
                            self.dev,
                            "endpoint {:#x}: unknown property {kind}\n",
                            endpoint.0
                        ),
                        // What the device reserves would be mapped.
                        Property::Malformed => return Err(EINVAL),
                    }
                    list.push(property, GFP_KERNEL)?;
                }
                Ok(())
            })?;
        Ok(list)
    }

    /// Puts endpoints into the blocking domain.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// There is a message: nothing more can be done with the device.
    pub(crate) fn block(&self, endpoints: &EndpointIds) -> Result {
        let blocking = self.numbers.blocking;
        self.requests
            .attach(endpoints, blocking, Translation::Mapped)
            .inspect_err(|error| {
                dev_err!(
                    self.dev,
                    "an endpoint cannot be blocked: errno {}\n",
                    error.to_errno()
                );
            })
    }

    /// Puts a device somewhere else.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// The device stays where it is: [`ENODEV`], there is no such place; [`EIO`], the domain is
    /// closed; [`ENOMEM`], or what the IOMMU answers. If the IOMMU does not take the device back,
    /// the device is blocked, and there is a message.
    pub(crate) fn put(&self, endpoint: &Endpoint, to: Place) -> Result {
        // A device whose reserved IOVAs are not known is blocked, whatever the core asks for. To
        // refuse it would end the registration, and with that the translation of all devices.
        let to = if endpoint.is_admitted() {
            to
        } else {
            Place::Blocking
        };
        let _moving = self.moving.lock();
        let mut place = endpoint.place().lock();
        let goal = self.goal(&to)?;
        if place.is_same_domain(&to) {
            return Ok(());
        }
        let ids = endpoint.ids();
        let back = match to {
            // A device that cannot be blocked is not given anything else.
            Place::Blocking => Place::Nowhere,
            _ => place.clone(),
        };
        let put = self.change(&mut place, ids, to, goal);
        if put.is_err() {
            let tried = self
                .goal(&back)
                .and_then(|goal| self.change(&mut place, ids, back, goal));
            if tried.is_err() {
                let first = ids.first().0;
                dev_err!(
                    self.dev,
                    "endpoint {first:#x} cannot be attached to anything\n"
                );
            }
        }
        put
    }

    /// What an ATTACH is to say for a place, where there is room for one more.
    fn goal(&self, place: &Place) -> Result<Goal> {
        let (number, translation) = match place {
            Place::Nowhere => return Err(EINVAL),
            Place::Blocking => (self.numbers.blocking, Translation::Mapped),
            Place::Identity => (self.numbers.identity.ok_or(ENODEV)?, Translation::Bypass),
            Place::Mapped(domain) => {
                domain.make_room()?;
                (domain.number(), Translation::Mapped)
            }
        };
        Ok(Goal {
            number,
            translation,
        })
    }

    /// Has the IOMMU move a device.
    ///
    /// # Errors
    ///
    /// The device is blocked, or there is a message that it is not.
    fn change(&self, place: &mut Place, ids: &Arc<EndpointIds>, to: Place, goal: Goal) -> Result {
        let attach = || {
            let result = self.requests.attach(ids, goal.number, goal.translation);
            let is_out = result.is_ok() || self.block(ids).is_ok();
            let left = if is_out {
                Left::Certainly
            } else {
                Left::PerhapsNot
            };
            (result, left)
        };
        let left = match &*place {
            Place::Mapped(domain) => domain.leave(ids, attach),
            _ => attach().0,
        };
        let entered = left.and_then(|()| match &to {
            Place::Mapped(domain) => domain.enter(ids),
            _ => Ok(()),
        });
        *place = if entered.is_ok() { to } else { Place::Blocking };
        entered
    }
}
