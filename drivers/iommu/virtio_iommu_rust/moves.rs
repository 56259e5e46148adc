// SPDX-License-Identifier: GPL-2.0

//! Which endpoints of a device are moved, and what is done if the IOMMU refuses one.
//!
//! The core cannot handle the failure of some moves. The first move of a device is one of them: if
//! it fails, the core gives the whole IOMMU up, and no device is translated. A device that the
//! IOMMU refuses then is blocked instead.

use super::{
    homes::{
        Admission,
        Homes, //
    },
    ids::EndpointIds,
    protocol::EndpointId, //
};
use kernel::{
    iommu::probed::Demand,
    prelude::*,
    sync::Arc, //
};

/// Moves single endpoints, each to a place `P`.
pub(crate) trait Mover<P> {
    /// The place where an endpoint does no DMA.
    const BLOCKING: P;

    /// Whether a place is a domain that lets DMA through.
    fn is_domain(place: &P) -> bool;

    /// Prepares the move of some endpoints. Afterwards the homes of all of them are known.
    ///
    /// # Errors
    ///
    /// The endpoints cannot be moved there now. Each is where it was. If nobody knew where, it is
    /// blocked, or its home is still unknown.
    fn prepare(&self, homes: &mut Homes<P>, ids: &EndpointIds, to: &P) -> Result;

    /// Moves an endpoint, and notes where it is then.
    ///
    /// # Errors
    ///
    /// The endpoint is where it was, or blocked, or its home is unknown. In the last case there is
    /// a message.
    fn move_one(&self, homes: &mut Homes<P>, id: EndpointId, to: &P) -> Result;

    /// Says that a device is blocked because the IOMMU has refused it.
    fn say_blocked(&self, ids: &EndpointIds, error: Error);

    /// Says that the IOMMU has not taken an endpoint back.
    fn say_lost(&self, id: EndpointId);
}

/// Moves a device.
///
/// Context: may sleep.
///
/// # Errors
///
/// That of [`Mover`]. Each endpoint then is where it was, or blocked with a message, or its home is
/// unknown. If the core cannot handle a failure, there is an error only if an endpoint may still be
/// in its former domain.
pub(crate) fn put<P, M>(
    mover: &M,
    homes: &mut Homes<P>,
    (ids, admission): (&Arc<EndpointIds>, Admission),
    to: &P,
    demand: Demand,
) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    match (admission, demand) {
        (Admission::Admitted, _) if *to == M::BLOCKING => block(mover, homes, ids, |_, _| true),
        (Admission::Admitted, Demand::Optional) => shift(mover, homes, ids, to),
        (Admission::Admitted, Demand::Mandatory) => shift_or_block(mover, homes, ids, to),
        // A device with unknown reserved IOVAs is blocked, whatever the core asks for.
        (Admission::BlockedOnly, Demand::Optional) => block_unshared(mover, homes, ids),
        (Admission::BlockedOnly, Demand::Mandatory) => {
            let blocked = block_unshared(mover, homes, ids);
            let homes = &*homes;
            let own = ids.iter().filter(|id| !homes.has_other_user(*id, ids));
            unless_out::<P, M>(blocked, homes, own, to)
        }
    }
}

/// Blocks the endpoints of a device, except those that another admitted device has. Tries each of
/// them, even if the IOMMU does not block another one.
///
/// Context: may sleep.
///
/// # Errors
///
/// At least one endpoint may still do DMA. There is a message.
pub(crate) fn block_unshared<P, M>(
    mover: &M,
    homes: &mut Homes<P>,
    ids: &Arc<EndpointIds>,
) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    block(mover, homes, ids, |homes, id| {
        !homes.has_other_user(id, ids)
    })
}

fn block<P, M>(
    mover: &M,
    homes: &mut Homes<P>,
    ids: &EndpointIds,
    is_meant: impl Fn(&Homes<P>, EndpointId) -> bool,
) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    let mut result = Ok(());
    for id in ids.iter() {
        if is_meant(homes, id) {
            result = result.and(mover.move_one(homes, id, &M::BLOCKING));
        }
    }
    result
}

/// Moves the endpoints of a device. If the IOMMU refuses one, takes back those that it has moved.
fn shift<P, M>(mover: &M, homes: &mut Homes<P>, ids: &EndpointIds, to: &P) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    let mut moved = KVec::with_capacity(ids.iter().count(), GFP_KERNEL)?;
    let result = advance(mover, homes, ids, to, |id, former| {
        // The vector has room for all of the device's endpoints.
        let _ = moved.push_within_capacity((id, former));
    });
    result.inspect_err(|_| take_back(mover, homes, &moved))
}

/// Moves the endpoints of a device. If the IOMMU refuses one, blocks the device, except endpoints
/// that another device needs where they are now.
fn shift_or_block<P, M>(mover: &M, homes: &mut Homes<P>, ids: &Arc<EndpointIds>, to: &P) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    let Err(error) = advance(mover, homes, ids, to, |_, _| {}) else {
        return Ok(());
    };
    let blocked = block(mover, homes, ids, |homes, id| {
        !(homes.has_other_user(id, ids) && homes.is_at(id, to))
    });
    if blocked.is_ok() {
        mover.say_blocked(ids, error);
    }
    unless_out::<P, M>(blocked, homes, ids.iter(), to)
}

/// The result of a block, or success if none of these endpoints can be in a domain other than `to`.
/// So an endpoint that could not be blocked when the IOMMU was registered does not keep other
/// devices from being translated. There was a message about it.
fn unless_out<P, M>(
    blocked: Result,
    homes: &Homes<P>,
    mut ids: impl Iterator<Item = EndpointId>,
    to: &P,
) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    blocked.or_else(|error| {
        let is_out = ids.all(|id| {
            let mut places = homes.places(id).into_iter();
            places.all(|place| place == *to || !M::is_domain(&place))
        });
        if is_out {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Moves the endpoints of a device, until the IOMMU refuses one. Tells `note` each endpoint before
/// it is moved, and where it is then.
fn advance<P, M>(
    mover: &M,
    homes: &mut Homes<P>,
    ids: &EndpointIds,
    to: &P,
    mut note: impl FnMut(EndpointId, P),
) -> Result
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    mover.prepare(homes, ids, to)?;
    for id in ids.iter() {
        // No ATTACH is sent for an endpoint that is there already. The IOMMU might take it as a
        // detach and an attach, and forget the domain between the two.
        if homes.is_at(id, to) {
            continue;
        }
        note(id, homes.known(id).ok_or(EIO)?);
        mover.move_one(homes, id, to)?;
    }
    Ok(())
}

/// Puts endpoints back to where they were. Blocks those that the IOMMU does not take back.
fn take_back<P, M>(mover: &M, homes: &mut Homes<P>, moved: &[(EndpointId, P)])
where
    P: Clone + Default + PartialEq,
    M: Mover<P>,
{
    for (id, former) in moved {
        if mover.move_one(homes, *id, former).is_err() {
            // A second failure has its own message, and is in the record.
            let _ = mover.move_one(homes, *id, &M::BLOCKING);
            mover.say_lost(*id);
        }
    }
}
