// SPDX-License-Identifier: GPL-2.0

//! How a device enters a domain, whatever the hypervisor says of the place where the device is.

use super::{
    block::Blocked,
    state::{
        Place,
        State, //
    }, //
};
use crate::host::{
    calls,
    domain_ids::DomainId,
    readings, //
};
use core::mem;
use kernel::hyperv::{
    logical_device::LogicalDeviceId,
    status::HypercallError, //
};

/// Why a device is not in the domain that was asked for.
pub(super) enum NotEntered {
    /// The device is where it was.
    Stays(HypercallError),
    /// The device is in no domain, or it is not known where it is.
    Lost(HypercallError),
}

/// Attaches a device. If the hypervisor does not say what it did, puts the device back into the
/// domain that it was in.
///
/// Context: may sleep; under the device's lock.
///
/// # Errors
///
/// [`NotEntered`].
pub(super) fn enter(
    id: LogicalDeviceId,
    state: &mut State,
    domain: DomainId,
) -> Result<(), NotEntered> {
    let failure = match calls::attach(domain, id) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if readings::is_attached_already(failure) {
        return enter_anew(id, state, domain, failure);
    }
    if readings::has_no_effect(failure) || is_put_back(id, state) {
        Err(NotEntered::Stays(failure))
    } else {
        Err(NotEntered::Lost(failure))
    }
}

/// Attaches a device of which the hypervisor says that it is in a domain already. Takes the device
/// out of wherever it is, and attaches it again.
#[cold]
fn enter_anew(
    id: LogicalDeviceId,
    state: &mut State,
    domain: DomainId,
    failure: HypercallError,
) -> Result<(), NotEntered> {
    // The table that answers the device's requests for translations goes.
    let had_ats = state.switch_ats_off();
    let result = detach_and_enter(id, state, domain, failure);
    if had_ats && !matches!(result, Err(NotEntered::Lost(_))) {
        // ATS was on before, so this cannot fail.
        let _ = state.switch_ats_on();
    }
    result
}

fn detach_and_enter(
    id: LogicalDeviceId,
    state: &mut State,
    domain: DomainId,
    failure: HypercallError,
) -> Result<(), NotEntered> {
    match calls::detach(id) {
        Ok(()) => {}
        // The hypervisor and the driver agree on where the device is.
        Err(_) if state.place == Place::In(domain) => return Ok(()),
        Err(detach) if readings::says_no_such_device(detach) => {
            return Err(NotEntered::Stays(detach));
        }
        Err(detach) if readings::has_no_effect(detach) => return Err(NotEntered::Stays(failure)),
        Err(_) => return Err(NotEntered::Lost(failure)),
    }
    let former = mem::replace(&mut state.place, Place::Blocked(Blocked::Detached));
    let failure = match calls::attach(domain, id) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if let Place::In(place) = former {
        if calls::attach(place, id).is_ok() {
            state.place = former;
            return Err(NotEntered::Stays(failure));
        }
    }
    if !readings::has_no_effect(failure) {
        // The device may enter the domain later, so it does not count as blocked.
        state.place = former;
    }
    Err(NotEntered::Lost(failure))
}

/// Attaches a device once more to the domain that it is in, because a call that should have put it
/// elsewhere did not say what it did. Returns whether the device is there.
#[cold]
fn is_put_back(id: LogicalDeviceId, state: &mut State) -> bool {
    let Place::In(domain) = state.place else {
        return false;
    };
    match calls::attach(domain, id) {
        Ok(()) => true,
        Err(failure) if readings::is_attached_already(failure) => {
            enter_anew(id, state, domain, failure).is_ok()
        }
        Err(_) => false,
    }
}
