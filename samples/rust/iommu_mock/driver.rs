// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core calls.

use super::{
    counters::Counters,
    fixed::{
        BLOCKING,
        IDENTITY, //
    },
    mapped::MappedDomain,
    table::TableDomain, //
};
use kernel::{
    iommu::{
        domain::{
            NewDomain,
            Prot, //
        },
        driver::{
            AllocFlags,
            Capability,
            Driver,
            Grouping,
            SoundDriver, //
        },
        hw_info::{
            HwInfo,
            HwInfoKind, //
        },
        ops::Ops,
        probed::{
            AttachTarget,
            Probed,
            Probing, //
        },
        resv::{
            ReservedKind,
            ReservedRegions, //
        },
        Iova, //
    },
    prelude::*,
    sync::Arc, //
};

/// The kind of the information about the hardware: "mock" in ASCII.
const HW_INFO: HwInfoKind = HwInfoKind::from_raw(0x6d6f_636b);

/// The start of the IOVAs that no device may use, and their length in bytes.
const RESERVED: Iova = Iova::new(0xfee0_0000);
const RESERVED_BYTES: usize = 0x10_0000;

/// The two IOMMUs. The number is that of the platform device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The driver tells the IOMMU of each page.
    Mapped = 0,
    /// The IOMMU walks page tables.
    Table = 1,
}

/// What the driver keeps for an IOMMU.
pub(crate) struct Instance {
    pub(crate) kind: Kind,
    pub(crate) counters: Arc<Counters>,
}

/// What the driver keeps for a device.
pub(crate) struct Endpoint {
    /// The number by which the IOMMU knows the device.
    id: u32,
}

/// The driver.
pub(crate) struct Mock;

// SAFETY: There is no hardware. So no device does DMA through a domain, and nothing caches
// translations or walks tables. The module's `init` makes no device behind an IOMMU. The driver
// keeps no PCI function.
unsafe impl SoundDriver for Mock {}

pub(crate) static OPS: Ops<Mock> = Ops::new().with_identity(&IDENTITY).with_blocking(&BLOCKING);

#[vtable]
impl Driver for Mock {
    type Instance = Instance;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(instance: &Instance, device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        let id = *device.ids().first().ok_or(ENODEV)?;
        let endpoint = Arc::new(Endpoint { id }, GFP_KERNEL)?;
        instance.counters.devices.count();
        Ok(endpoint)
    }

    fn release_device(target: &AttachTarget<'_, Mock>) {
        target.instance().counters.devices.discount();
    }

    fn probe_finalize(device: &Probed<'_, Mock>) {
        device.instance().counters.finalized.count();
    }

    fn alloc_domain_with(device: &Probed<'_, Mock>, flags: AllocFlags) -> Result<NewDomain<Mock>> {
        if flags.without(AllocFlags::PASID) != AllocFlags::NONE {
            return Err(EOPNOTSUPP);
        }
        let instance = device.instance();
        match instance.kind {
            Kind::Mapped => MappedDomain::allocate(&instance.counters),
            Kind::Table => TableDomain::allocate(&instance.counters),
        }
    }

    fn capable(_device: &Probed<'_, Mock>, capability: Capability) -> bool {
        capability == Capability::CACHE_COHERENCY
    }

    fn hw_info(device: &Probed<'_, Mock>, _asked: HwInfoKind) -> Result<HwInfo> {
        HwInfo::new(
            HW_INFO,
            [device.instance().kind as u32, device.endpoint().id],
        )
    }

    fn reserved_regions(_device: &Probed<'_, Mock>, regions: &mut ReservedRegions) -> Result {
        let kind = ReservedKind::Reserved;
        regions.add(RESERVED, RESERVED_BYTES, Prot::NONE, kind)
    }
}
