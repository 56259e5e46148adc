// SPDX-License-Identifier: GPL-2.0

//! The record of where each endpoint is, and which devices have it.
//!
//! Devices behind one PCI bridge can share an endpoint. A device that moves then moves an endpoint
//! of another one, too. So the record goes by endpoints, and says for each of them where the IOMMU
//! really has it.
//!
//! `P` is a place where an endpoint can be, such as a domain. Its default is the place of an
//! endpoint that the IOMMU was never told of.

use super::{
    ids::EndpointIds,
    protocol::EndpointId, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Whether a device may be put into a domain that lets DMA through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// It may only be blocked.
    BlockedOnly,
}

/// Where an endpoint is.
enum Home<P> {
    /// It is there.
    Known(P),
    /// It may be in either place, or blocked. Two places are enough: an endpoint with an unknown
    /// home must be blocked before it is moved elsewhere.
    Unknown([P; 2]),
}

/// An endpoint, with its home.
struct Entry<P> {
    id: EndpointId,
    home: Home<P>,
}

/// A device that was probed and not released.
struct Device {
    ids: Arc<EndpointIds>,
    admission: Admission,
}

/// The devices behind an IOMMU, and where their endpoints are.
pub(crate) struct Homes<P> {
    devices: KVec<Device>,
    /// Each endpoint once. An endpoint that no device has stays here until its home is known.
    entries: KVec<Entry<P>>,
}

impl<P: Clone + Default + PartialEq> Homes<P> {
    pub(crate) fn new() -> Homes<P> {
        Homes {
            devices: KVec::new(),
            entries: KVec::new(),
        }
    }

    /// Adds a device. An endpoint that the record has already stays where it is.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. The device is not added then.
    pub(crate) fn add(&mut self, ids: &Arc<EndpointIds>, admission: Admission) -> Result {
        self.entries.reserve(ids.iter().count(), GFP_KERNEL)?;
        self.devices.reserve(1, GFP_KERNEL)?;
        for id in ids.iter() {
            if self.home(id).is_none() {
                let home = Home::Known(P::default());
                let entry = Entry { id, home };
                self.entries
                    .push_within_capacity(entry)
                    .map_err(|_| ENOMEM)?;
            }
        }
        let ids = ids.clone();
        let device = Device { ids, admission };
        self.devices
            .push_within_capacity(device)
            .map_err(|_| ENOMEM)
    }

    /// Removes a device, if it is there. Others with the same endpoints stay, and so do the homes
    /// of all endpoints, until [`Self::forget_unused`].
    pub(crate) fn remove(&mut self, ids: &Arc<EndpointIds>) {
        self.devices.retain(|other| !Arc::ptr_eq(&other.ids, ids));
    }

    /// Forgets the endpoints that no device has, except those with an unknown home.
    pub(crate) fn forget_unused(&mut self) {
        let devices = &self.devices;
        self.entries.retain(|entry| {
            matches!(entry.home, Home::Unknown(_))
                || devices.iter().any(|device| device.ids.contains(entry.id))
        });
    }

    /// Whether an admitted device other than this one has an endpoint. That device needs the
    /// endpoint where it is.
    pub(crate) fn has_other_user(&self, id: EndpointId, ids: &Arc<EndpointIds>) -> bool {
        self.devices.iter().any(|device| {
            device.admission == Admission::Admitted
                && !Arc::ptr_eq(&device.ids, ids)
                && device.ids.contains(id)
        })
    }

    /// The endpoint at a position of the record; [`None`] behind the last one.
    pub(crate) fn endpoint(&self, position: usize) -> Option<EndpointId> {
        Some(self.entries.get(position)?.id)
    }

    /// Where an endpoint is; [`None`] if that is not known.
    pub(crate) fn known(&self, id: EndpointId) -> Option<P> {
        match self.home(id) {
            Some(Home::Known(place)) => Some(place.clone()),
            Some(Home::Unknown(_)) => None,
            None => Some(P::default()),
        }
    }

    /// The places where an endpoint may be. Both are the same if its home is known.
    pub(crate) fn places(&self, id: EndpointId) -> [P; 2] {
        match self.home(id) {
            Some(Home::Known(place)) => [place.clone(), place.clone()],
            Some(Home::Unknown(places)) => places.clone(),
            None => [P::default(), P::default()],
        }
    }

    /// Whether an endpoint is in a place for certain, so that it needs no move to get there.
    pub(crate) fn is_at(&self, id: EndpointId, place: &P) -> bool {
        matches!(self.home(id), Some(Home::Known(home)) if home == place)
    }

    /// Whether an endpoint is or may be in a place.
    pub(crate) fn may_be_at(&self, id: EndpointId, place: &P) -> bool {
        self.home(id).is_some() && self.places(id).contains(place)
    }

    /// Notes that an endpoint is in a place, and nowhere else.
    pub(crate) fn note_arrived(&mut self, id: EndpointId, place: P) {
        self.set(id, Home::Known(place));
    }

    /// Notes that an endpoint failed to move, and is where it was, or in `to`, or blocked. If its
    /// home was unknown before, only blocking was tried, so both places stay in the record.
    pub(crate) fn note_lost(&mut self, id: EndpointId, to: P) {
        if let Some(from) = self.known(id) {
            self.set(id, Home::Unknown([from, to]));
        }
    }

    fn home(&self, id: EndpointId) -> Option<&Home<P>> {
        let entry = self.entries.iter().find(|entry| entry.id == id)?;
        Some(&entry.home)
    }

    fn set(&mut self, id: EndpointId, home: Home<P>) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.home = home;
        }
    }
}
