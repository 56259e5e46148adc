// SPDX-License-Identifier: GPL-2.0

//! An IOMMU.

use super::{
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
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
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

/// What the device says about itself.
#[derive(Clone)]
pub(crate) struct Report {
    /// The IOVAs that can be mapped.
    pub(crate) aperture: RangeInclusive<Iova>,
    /// The sizes of blocks that can be mapped. Bit n: blocks of 2^n bytes.
    pub(crate) page_sizes: u64,
    /// What a mapping can allow.
    flags: MapFlags,
    /// The numbers that domains can have.
    domains: RangeInclusive<u32>,
    /// The size of an endpoint's properties in bytes; 0 if the device has none.
    properties: usize,
    /// Whether the device has domains that let DMA through untranslated.
    has_bypass: bool,
}

impl Report {
    /// Reads what the device says.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device cannot map, or is of another type or too old.
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

/// Which numbers are for which domains.
struct Numbers {
    blocking: DomainId,
    /// [`None`] if the device has no such domain.
    identity: Option<DomainId>,
    /// The numbers for domains with mappings.
    mapped: RangeInclusive<u32>,
}

/// The number of a domain with mappings. All endpoints must have left the domain before this is
/// dropped.
pub(crate) struct TakenNumber {
    iommu: Arc<Iommu>,
    id: DomainId,
}

impl TakenNumber {
    /// Takes a free number.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more domains.
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
}

impl Iommu {
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENODEV`]: the device has too few domains, or cannot map single pages.
    pub(crate) fn new(dev: &Device, report: Report, requests: Requests) -> Result<Arc<Iommu>> {
        let numbers = Iommu::settle_numbers(&report)?;
        // The lowest bit is the smallest block. The DMA API maps single pages.
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
            }),
            GFP_KERNEL,
        )
    }

    /// Decides which numbers are for which domains. The static domains get the lowest ones.
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

    /// The device that is the IOMMU, for messages.
    pub(crate) fn dev(&self) -> &Device {
        &self.dev
    }

    /// The number of the identity domain; [`None`] if the device has no such domain.
    pub(super) fn identity(&self) -> Option<DomainId> {
        self.numbers.identity
    }

    /// The flags for a mapping that allows `prot`.
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

    /// Asks the device for the properties of an endpoint.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], the device's error, or [`EINVAL`] if a property is malformed.
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
                        // Ignoring this could lead to mappings where the device reserves IOVAs.
                        Property::Malformed => return Err(EINVAL),
                    }
                    list.push(property, GFP_KERNEL)?;
                }
                Ok(())
            })?;
        Ok(list)
    }

    /// Puts an endpoint into the blocking domain. An endpoint that the device does not know does no
    /// DMA, so it counts as blocked.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// The endpoint may do DMA still, and nothing else can be done. There is a message.
    pub(crate) fn block(&self, id: EndpointId) -> Result {
        self.try_block(id).inspect_err(|error| {
            dev_err!(
                self.dev,
                "endpoint {:#x} cannot be blocked: errno {}\n",
                id.0,
                error.to_errno()
            );
        })
    }

    /// As [`Self::block`], without a message.
    pub(crate) fn try_block(&self, id: EndpointId) -> Result {
        let attached = self
            .requests
            .attach(id, self.numbers.blocking, Translation::Mapped);
        match attached {
            Ok(()) | Err(ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
