// SPDX-License-Identifier: GPL-2.0

//! A device while the system hibernates.

use super::{
    block::{
        is_gone,
        Blocked, //
    },
    calls,
    endpoint::{
        Endpoint,
        Place,
        TranslatedRequests, //
    },
    instance::Instance, //
};
use kernel::{
    hyperv::status::HypercallError,
    iommu::ops::Demand,
    prelude::*, //
};

impl Endpoint {
    /// Takes the device out of its domain, which keeps it from doing DMA, and notes where it was. Its
    /// registers are left alone: its bus is closed, and the PCI core has saved them.
    ///
    /// Context: interrupts off.
    ///
    /// # Errors
    ///
    /// The device is where it was.
    pub(crate) fn put_to_sleep(&self) -> Result<(), HypercallError> {
        self.with_state(|state| {
            state.slept = Some(state.place);
            if !matches!(
                state.place,
                Place::In(_) | Place::Blocked(Blocked::Attached)
            ) {
                return Ok(());
            }
            let how = match calls::detach(self.id()) {
                Ok(()) => Blocked::Detached,
                Err(failure) if is_gone(self.id(), failure) => Blocked::Gone,
                Err(failure) => return Err(failure),
            };
            state.place = Place::Blocked(how);
            Ok(())
        })
    }

    /// Puts the device back to where it was, or else blocks it. There is a message about a failure.
    ///
    /// Context: may sleep; nothing else changes the device's translation.
    ///
    /// # Errors
    ///
    /// [`EIO`]: it could be neither put back nor blocked.
    pub(crate) fn wake(&self, instance: &Instance) -> Result {
        let slept = self.with_state(|state| {
            if !state.is_replaced() {
                // On this host it may be anywhere.
                state.place = Place::Initial;
            }
            state.slept.take()
        });
        let domain = match slept {
            Some(Place::In(domain)) => domain,
            Some(Place::Blocked(_)) => return self.block(instance),
            Some(Place::Initial) | None => return Ok(()),
        };
        let requests = if instance.identity() == Some(domain) {
            TranslatedRequests::Forbidden
        } else {
            TranslatedRequests::Allowed
        };
        let closed_by = [instance.shut_down_flag()];
        match self.attach(domain, requests, Demand::Optional, &closed_by) {
            Ok(()) => Ok(()),
            Err(_) => self.block(instance),
        }
    }
}
