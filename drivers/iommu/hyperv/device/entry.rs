// SPDX-License-Identifier: GPL-2.0

//! How a device enters a domain, whatever the hypervisor says of the place where the device is.

use super::{
    block::Blocked,
    state::Place, //
};
use crate::host::{
    calls,
    domain_ids::DomainId,
    readings, //
};
use kernel::hyperv::{
    logical_device::LogicalDeviceId,
    status::HypercallError, //
};

/// Why a device is not in the domain that was asked for.
pub(super) enum NotEntered {
    /// The device is where it was.
    Stays(HypercallError),
    /// The device may have left that place, or may leave it later.
    MayLeave(HypercallError),
}

impl NotEntered {
    /// `last` is the failure of the last call; `reason` is the one to report.
    fn after(last: HypercallError, reason: HypercallError) -> NotEntered {
        if readings::has_no_effect(last) {
            NotEntered::Stays(reason)
        } else {
            NotEntered::MayLeave(reason)
        }
    }
}

/// Attaches a device, which is at `place` as far as this kernel knows.
///
/// The hypervisor may say that the device is in the domain already. If this kernel has not put the
/// device there, the device is taken out of wherever it is, and attached again.
///
/// Context: any; under the device's lock.
///
/// # Errors
///
/// [`NotEntered`].
pub(super) fn enter(id: LogicalDeviceId, place: Place, domain: DomainId) -> Result<(), NotEntered> {
    let failure = match calls::attach(domain, id) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if !readings::is_attached_already(failure) {
        return Err(NotEntered::after(failure, failure));
    }
    match place {
        Place::In(place) if place == domain => return Ok(()),
        // It is in no domain.
        Place::Blocked(Blocked::Detached) => return Err(NotEntered::Stays(failure)),
        _ => {}
    }
    calls::detach(id).map_err(|detach| NotEntered::after(detach, failure))?;
    calls::attach(domain, id).map_err(NotEntered::MayLeave)
}

/// Attaches a device once more to the domain that it is in, because a call that should have put it
/// elsewhere did not say what it did. Returns whether the device is there.
///
/// Context: any; under the device's lock.
#[cold]
pub(super) fn put_back(id: LogicalDeviceId, place: Place) -> bool {
    let Place::In(domain) = place else {
        return false;
    };
    match calls::attach(domain, id) {
        Ok(()) => true,
        Err(failure) => readings::is_attached_already(failure),
    }
}
