// SPDX-License-Identifier: GPL-2.0

//! A device behind the IOMMU.

use super::{
    domain::Shared,
    protocol::{
        EndpointId,
        Property, //
    }, //
};
use core::iter;
use kernel::{
    device::Device,
    iommu::{
        domain::Prot,
        fwspec,
        resv::{
            ReservedKind,
            ReservedRegions, //
        },
        Iova,
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Where software maps the doorbells of interrupts, when the device does not take interrupts
/// itself. Nobody allocates IOVAs as low as that.
const DOORBELLS: Iova = Iova::new(0x800_0000);
/// Its length in bytes.
const DOORBELLS_BYTES: usize = 0x10_0000;
/// What a device does at a doorbell.
const DOORBELL: Prot = Prot::WRITE.with(Prot::NOEXEC).with(Prot::MMIO);

/// The numbers by which the IOMMU knows a device.
pub(crate) struct EndpointIds {
    first: EndpointId,
    others: KVec<EndpointId>,
}

impl EndpointIds {
    /// Those that firmware says.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: it says none. [`ENOMEM`].
    fn of(dev: &Device) -> Result<EndpointIds> {
        let (first, rest) = fwspec::ids(dev).split_first().ok_or(ENODEV)?;
        let mut others = KVec::with_capacity(rest.len(), GFP_KERNEL)?;
        for id in rest {
            others.push(EndpointId(*id), GFP_KERNEL)?;
        }
        Ok(EndpointIds {
            first: EndpointId(*first),
            others,
        })
    }

    /// That by which messages name the device.
    pub(crate) fn first(&self) -> EndpointId {
        self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = EndpointId> + '_ {
        Iterator::chain(iter::once(self.first), self.others.iter().copied())
    }
}

/// Whether endpoints have left a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The device has put them elsewhere.
    Certainly,
    /// The device has neither put them elsewhere nor blocked them.
    PerhapsNot,
}

/// Which domain a device is in.
#[derive(Clone)]
pub(crate) enum Place {
    /// In none: what it may do is the machine's policy.
    Nowhere,
    /// In that which blocks.
    Blocking,
    /// In that which does not translate.
    Identity,
    /// In one with mappings.
    Mapped(Arc<Shared>),
}

impl Place {
    /// Whether both are the same domain with mappings.
    pub(super) fn is_same_domain(&self, other: &Place) -> bool {
        matches!(
            (self, other),
            (Place::Mapped(own), Place::Mapped(other)) if Arc::ptr_eq(own, other)
        )
    }
}

/// What the device has said of a device's IOVAs.
pub(crate) enum Properties {
    /// All of it.
    Known(KVec<Property>),
    /// It could not be asked.
    Unknown,
}

/// A device behind the IOMMU.
#[pin_data]
pub(crate) struct Endpoint {
    ids: Arc<EndpointIds>,
    properties: Properties,
    #[pin]
    place: Mutex<Place>,
}

impl Endpoint {
    /// The device `dev`, by the numbers that firmware says. `ask` finds out the properties of the
    /// first one: the others are taken to have the same.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: firmware says none. [`ENOMEM`].
    pub(crate) fn new(
        dev: &Device,
        ask: impl FnOnce(EndpointId) -> Result<KVec<Property>>,
    ) -> Result<Arc<Endpoint>> {
        let ids = Arc::new(EndpointIds::of(dev)?, GFP_KERNEL)?;
        let properties = match ask(ids.first()) {
            Ok(properties) => Properties::Known(properties),
            Err(error) => {
                dev_err!(
                    dev,
                    "IOMMU: not used, its properties are not known: errno {}\n",
                    error.to_errno()
                );
                Properties::Unknown
            }
        };
        Arc::pin_init(
            pin_init!(Endpoint {
                ids,
                properties,
                place <- new_mutex!(Place::Nowhere),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn ids(&self) -> &Arc<EndpointIds> {
        &self.ids
    }

    /// Where the device is.
    pub(super) fn place(&self) -> &Mutex<Place> {
        &self.place
    }

    /// Whether the device may be attached to anything that lets DMA through.
    pub(crate) fn is_admitted(&self) -> bool {
        matches!(self.properties, Properties::Known(_))
    }

    /// Adds the IOVAs that must not be used.
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
