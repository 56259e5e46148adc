// SPDX-License-Identifier: GPL-2.0

//! Puts devices into domains.

use super::{
    domain::Whereabouts,
    endpoint::{
        Endpoint,
        Place, //
    },
    ids::EndpointIds,
    iommu::{
        Iommu,
        Moving, //
    },
    protocol::{
        DomainId,
        EndpointId,
        Translation, //
    }, //
};
use kernel::prelude::*;

/// What the ATTACH requests for a device say.
struct Goal {
    number: DomainId,
    translation: Translation,
    /// The endpoints for which none is sent, because they are there already. A device might take it
    /// as a detach and an attach, and forget the domain between the two.
    present: KVec<EndpointId>,
}

/// Puts a device into a domain, in place of the one it is in.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENODEV`]: the IOMMU has no such domain. [`EIO`]: the domain cannot be used any more.
/// [`ENOMEM`], or the IOMMU's error. The device then is in its former domain. If the IOMMU does not
/// take it back there, it is blocked, and there is a message.
pub(super) fn put(iommu: &Iommu, endpoint: &Endpoint, to: Place) -> Result {
    // A device with unknown reserved IOVAs is blocked, whatever the core asks for. Refusing it
    // instead would make the registration fail, and no device would be translated.
    let to = if endpoint.is_admitted() {
        to
    } else {
        Place::Blocking
    };
    let moving = iommu.start_moving();
    let mut place = endpoint.place().lock();
    let ids = endpoint.ids();
    let to_goal = goal(iommu, &moving, ids, &to)?;
    if place.is_same_domain(&to) {
        return Ok(());
    }
    let back = match to {
        // If a device cannot be blocked, it is not put anywhere else.
        Place::Blocking => Place::Nowhere,
        _ => place.clone(),
    };
    let put = change(iommu, &moving, &mut place, ids, to, to_goal);
    if put.is_err() {
        let tried = goal(iommu, &moving, ids, &back)
            .and_then(|back_goal| change(iommu, &moving, &mut place, ids, back, back_goal));
        if tried.is_err() {
            let first = ids.first().0;
            dev_err!(
                iommu.dev(),
                "endpoint {first:#x} cannot be attached to anything\n"
            );
        }
    }
    put
}

/// Blocks a device that goes away. An endpoint that another device has, too, stays in its domain,
/// because it carries the DMA of that device. If the IOMMU does not block the device, there is a
/// message.
///
/// Context: may sleep.
pub(super) fn release(iommu: &Iommu, endpoint: &Endpoint) {
    let mut moving = iommu.start_moving();
    let mut place = endpoint.place().lock();
    let ids = endpoint.ids();
    moving.note_released(ids);
    let is_leaving = |id: EndpointId| ids.contains(id) && !moving.is_used(id);
    let block = || match iommu.block(ids.iter().filter(|id| is_leaving(*id))) {
        Ok(()) => Whereabouts::Arrived,
        Err(error) => Whereabouts::Unknown(error),
    };
    match &*place {
        Place::Mapped(domain) => domain.leave(&moving, is_leaving, block),
        _ => block(),
    };
    *place = Place::Blocking;
}

/// What the ATTACH requests must say to put a device into a domain. Makes room for it there.
fn goal(iommu: &Iommu, moving: &Moving<'_>, ids: &EndpointIds, place: &Place) -> Result<Goal> {
    let mut present = KVec::new();
    let (number, translation) = match place {
        Place::Nowhere => return Err(EINVAL),
        Place::Blocking => (iommu.blocking(), Translation::Mapped),
        Place::Identity => (iommu.identity().ok_or(ENODEV)?, Translation::Bypass),
        Place::Mapped(domain) => {
            present = domain.make_room(moving, ids)?;
            (domain.number(), Translation::Mapped)
        }
    };
    Ok(Goal {
        number,
        translation,
        present,
    })
}

/// Lets the IOMMU move a device.
///
/// # Errors
///
/// The device is blocked then, or a message says that it is not.
fn change(
    iommu: &Iommu,
    moving: &Moving<'_>,
    place: &mut Place,
    ids: &EndpointIds,
    to: Place,
    goal: Goal,
) -> Result {
    let attach = || {
        let absent = ids.iter().filter(|id| !goal.present.contains(id));
        let result = iommu.requests.attach(absent, goal.number, goal.translation);
        Whereabouts::after(result, iommu, ids)
    };
    let whereabouts = match &*place {
        Place::Mapped(domain) => domain.leave(moving, |id| ids.contains(id), attach),
        _ => attach(),
    };
    let entered = match (&to, whereabouts) {
        (Place::Mapped(domain), _) => domain.enter(moving, ids, whereabouts),
        (_, Whereabouts::Arrived) => Ok(()),
        (_, Whereabouts::Blocked(error) | Whereabouts::Unknown(error)) => Err(error),
    };
    *place = if entered.is_ok() { to } else { Place::Blocking };
    entered
}
