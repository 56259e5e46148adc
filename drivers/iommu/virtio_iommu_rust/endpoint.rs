// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    homes::Admission,
    ids::EndpointIds,
    protocol::{
        EndpointId,
        Property, //
    }, //
};
use kernel::{
    iommu::{
        domain::Prot,
        probed::Probing,
        resv::{
            ReservedKind,
            ReservedRegions, //
        },
        Iova,
    },
    prelude::*,
    sync::Arc, //
};

/// Where software maps the doorbells of interrupts, if the IOMMU does not handle interrupts itself.
/// Nobody allocates IOVAs as low as this.
const DOORBELLS: Iova = Iova::new(0x800_0000);
/// The length of that region in bytes.
const DOORBELLS_BYTES: usize = 0x10_0000;
/// What a device may do at a doorbell.
const DOORBELL: Prot = Prot::WRITE.with(Prot::NOEXEC).with(Prot::MMIO);

/// What the IOMMU says about a device's IOVAs.
pub(crate) enum Properties {
    /// All that it says.
    Known(KVec<Property>),
    /// The IOMMU could not be asked.
    Unknown,
}

/// A device behind the IOMMU.
pub(crate) struct Endpoint {
    ids: Arc<EndpointIds>,
    properties: Properties,
}

impl Endpoint {
    /// The device, with the endpoints that firmware describes. `ask` reads the properties of
    /// the first endpoint; the others are assumed to have the same.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: firmware describes no endpoint. [`ENOMEM`].
    pub(crate) fn new(
        device: &Probing<'_>,
        ask: impl FnOnce(EndpointId) -> Result<KVec<Property>>,
    ) -> Result<Arc<Endpoint>> {
        let ids = Arc::new(EndpointIds::of(device)?, GFP_KERNEL)?;
        let properties = match ask(ids.first()) {
            Ok(properties) => Properties::Known(properties),
            Err(error) => {
                dev_err!(
                    device.dev(),
                    "IOMMU: not used, its properties are not known: errno {}\n",
                    error.to_errno()
                );
                Properties::Unknown
            }
        };
        Ok(Arc::new(Endpoint { ids, properties }, GFP_KERNEL)?)
    }

    pub(crate) fn ids(&self) -> &Arc<EndpointIds> {
        &self.ids
    }

    /// Whether the device may be put into a domain that lets DMA through. If its reserved IOVAs are
    /// not known, it may not.
    pub(crate) fn admission(&self) -> Admission {
        match self.properties {
            Properties::Known(_) => Admission::Admitted,
            Properties::Unknown => Admission::BlockedOnly,
        }
    }

    /// Adds the IOVAs that must not be mapped.
    ///
    /// Context: may sleep.
    pub(crate) fn reserve(&self, regions: &mut ReservedRegions) -> Result {
        let Properties::Known(properties) = &self.properties else {
            return Ok(());
        };
        let mut has_doorbells = false;
        for property in properties {
            let (region, prot, kind) = match *property {
                Property::Reserved(region) => (region, Prot::NONE, ReservedKind::Reserved),
                Property::Msi(region) => {
                    has_doorbells = true;
                    (region, DOORBELL, ReservedKind::Msi)
                }
                Property::Unknown(_) | Property::Malformed => continue,
            };
            regions.add(region.first, region.bytes, prot, kind)?;
        }
        if !has_doorbells {
            regions.add(
                DOORBELLS,
                DOORBELLS_BYTES,
                DOORBELL,
                ReservedKind::SoftwareMsi,
            )?;
        }
        Ok(())
    }
}
