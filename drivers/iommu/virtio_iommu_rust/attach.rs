// SPDX-License-Identifier: GPL-2.0

//! Puts devices into domains.
//!
//! Endpoints are moved one by one, each out of the place where the record has it. Where the core
//! has the device that is moved does not matter, because a shared endpoint may have moved with
//! another device.
//!
//! The IOMMU can fail to move an endpoint, and then fail to block it, too. Nobody knows then where
//! it is. The domains with mappings where it may be take no new mappings. They keep their numbers
//! until the IOMMU has moved or blocked the endpoint.
//!
//! The record is locked before the state of a domain, and the state of one domain at most is locked
//! at a time. The queue of requests is locked last.

use super::{
    domain::{
        Shared,
        Whereabouts, //
    },
    endpoint::Endpoint,
    homes::Homes,
    ids::EndpointIds,
    iommu::Iommu,
    moves::{
        self,
        Mover, //
    },
    protocol::{
        EndpointId,
        Translation, //
    }, //
};
use kernel::{
    iommu::probed::Demand,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// A place where an endpoint can be.
#[derive(Clone, Default)]
pub(crate) enum Place {
    /// No domain. The machine's policy says what the endpoint may do.
    #[default]
    Nowhere,
    /// The blocking domain.
    Blocking,
    /// The identity domain.
    Identity,
    /// A domain with mappings.
    Mapped(Arc<Shared>),
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Nowhere, Place::Nowhere)
            | (Place::Blocking, Place::Blocking)
            | (Place::Identity, Place::Identity) => true,
            (Place::Mapped(own), Place::Mapped(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl Place {
    /// The domain, if it is one with mappings.
    fn domain(&self) -> Option<&Arc<Shared>> {
        match self {
            Place::Mapped(domain) => Some(domain),
            _ => None,
        }
    }
}

/// An IOMMU, and where its endpoints are.
#[pin_data]
pub(crate) struct Attachments {
    iommu: Arc<Iommu>,
    /// Locked while an endpoint is moved, so that endpoints enter and leave domains one after the
    /// other. While an endpoint may be in a domain, the record keeps the domain, and so its number.
    #[pin]
    homes: Mutex<Homes<Place>>,
}

impl Attachments {
    /// An IOMMU without devices.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(iommu: Arc<Iommu>) -> Result<Arc<Attachments>> {
        Arc::pin_init(
            pin_init!(Attachments {
                iommu,
                homes <- new_mutex!(Homes::new()),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn iommu(&self) -> &Arc<Iommu> {
        &self.iommu
    }

    /// Notes that a device is behind the IOMMU, until [`Self::release`].
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. The device is not noted then.
    pub(crate) fn note_probed(&self, endpoint: &Endpoint) -> Result {
        self.homes.lock().add(endpoint.ids(), endpoint.admission())
    }

    /// Puts a device into a domain, in place of the one it is in. Endpoints that are there already,
    /// because another device has them, too, are left alone.
    ///
    /// If the core cannot handle a failure, a device that the IOMMU refuses is blocked, with a
    /// message, and that is a success.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the IOMMU has no such domain. [`EIO`]: the domain cannot be used now.
    /// [`ENOMEM`], or the IOMMU's error. Each endpoint then is where it was. If nobody knew where,
    /// it is blocked. If the IOMMU does not take it back, it is blocked, and there is a message.
    pub(super) fn put(&self, endpoint: &Endpoint, to: Place, demand: Demand) -> Result {
        if to == Place::Identity && self.iommu.identity().is_none() {
            return Err(ENODEV);
        }
        let homes = &mut *self.homes.lock();
        let device = (endpoint.ids(), endpoint.admission());
        moves::put(self, homes, device, &to, demand)
    }

    /// Blocks a device that goes away. An endpoint that another device has, too, stays in its
    /// domain, because it carries the DMA of that device. If the IOMMU does not block the device,
    /// there is a message.
    ///
    /// Context: may sleep.
    pub(super) fn release(&self, endpoint: &Endpoint) {
        let homes = &mut *self.homes.lock();
        // The caller cannot handle an error. An endpoint that is not blocked stays in the record,
        // and so does the domain that it may be in.
        let _ = moves::block_unshared(self, homes, endpoint.ids());
        homes.remove(endpoint.ids());
        homes.forget_unused();
    }

    /// Blocks the endpoints that no device has taken out of a domain. This happens when a device is
    /// released while another one with the same endpoint was not put into the domain yet. While the
    /// IOMMU does not block them, no other domain gets the number.
    ///
    /// Called before the domain is freed.
    ///
    /// Context: may sleep.
    pub(super) fn evict(&self, domain: &Arc<Shared>) {
        let homes = &mut *self.homes.lock();
        let place = Place::Mapped(domain.clone());
        let mut position = 0;
        while let Some(id) = homes.endpoint(position) {
            if homes.may_be_at(id, &place) {
                let _ = self.move_one(homes, id, &Place::Blocking);
            }
            position = position.wrapping_add(1);
        }
        homes.forget_unused();
    }

    /// Blocks an endpoint if nobody knows where it is.
    fn make_known(&self, homes: &mut Homes<Place>, id: EndpointId) -> Result {
        match homes.known(id) {
            Some(_) => Ok(()),
            None => self.attach(homes, id, &Place::Blocking),
        }
    }

    /// As [`Self::move_one`], for an endpoint with a known home, or one that is to be blocked.
    fn attach(&self, homes: &mut Homes<Place>, id: EndpointId, to: &Place) -> Result {
        let iommu = &*self.iommu;
        let target = match to {
            Place::Nowhere => return Err(EINVAL),
            Place::Blocking => None,
            Place::Identity => Some((iommu.identity().ok_or(ENODEV)?, Translation::Bypass)),
            Place::Mapped(domain) => {
                domain.make_room()?;
                Some((domain.number(), Translation::Mapped))
            }
        };
        let send = || match target {
            Some((number, translation)) => {
                let result = iommu.requests.attach(id, number, translation);
                Whereabouts::after(result, iommu, id)
            }
            None => match iommu.block(id) {
                Ok(()) => Whereabouts::Arrived,
                Err(error) => Whereabouts::Unknown(error),
            },
        };
        let places = homes.places(id);
        let mut domains = places.iter().filter_map(Place::domain);
        let left = match domains.next() {
            Some(domain) => domain.leave(id, send),
            None => send(),
        };
        if left.is_certain() {
            domains.for_each(|domain| domain.expel(id));
        }
        let entered = match to {
            Place::Mapped(domain) => domain.enter(id, left),
            _ => left,
        };
        match entered {
            Whereabouts::Arrived => {
                homes.note_arrived(id, to.clone());
                Ok(())
            }
            Whereabouts::Blocked(error) => {
                homes.note_arrived(id, Place::Blocking);
                Err(error)
            }
            Whereabouts::Unknown(error) => {
                if left.is_certain() {
                    // It has left its former home, but could not stay in the new one.
                    homes.note_arrived(id, to.clone());
                }
                homes.note_lost(id, to.clone());
                Err(error)
            }
        }
    }
}

impl Mover<Place> for Attachments {
    const BLOCKING: Place = Place::Blocking;

    fn is_domain(place: &Place) -> bool {
        matches!(place, Place::Identity | Place::Mapped(_))
    }

    fn prepare(&self, homes: &mut Homes<Place>, ids: &EndpointIds, to: &Place) -> Result {
        // The target may be unusable because of these very endpoints.
        for id in ids.iter() {
            self.make_known(homes, id)?;
        }
        match to.domain() {
            Some(domain) => domain.make_room(),
            None => Ok(()),
        }
    }

    fn move_one(&self, homes: &mut Homes<Place>, id: EndpointId, to: &Place) -> Result {
        self.make_known(homes, id)?;
        self.attach(homes, id, to)
    }

    fn say_blocked(&self, ids: &EndpointIds, error: Error) {
        dev_err!(
            self.iommu.dev(),
            "endpoint {:#x} is blocked, as it was not attached: errno {}\n",
            ids.first().0,
            error.to_errno()
        );
    }

    fn say_lost(&self, id: EndpointId) {
        dev_err!(
            self.iommu.dev(),
            "endpoint {:#x} cannot be attached to anything\n",
            id.0
        );
    }
}
