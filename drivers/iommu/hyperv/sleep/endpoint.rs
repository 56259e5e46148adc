// SPDX-License-Identifier: GPL-2.0

//! Taking a device out of its domain before the system sleeps, and putting it back.

use crate::{
    device::{
        block::{
            is_gone,
            Blocked, //
        },
        endpoint::{
            Endpoint,
            TranslatedRequests, //
        },
        state::Place, //
    },
    host::{
        calls,
        domain_ids::DomainId,
        layouts::DetachDeviceDomain,
        message::{
            say,
            Level,
            Word, //
        },
        readings, //
    },
    instance::Instance, //
};
use kernel::{
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    iommu::probed::Demand,
    prelude::*, //
};

/// Why a device is not detached.
pub(super) enum Stays {
    /// A task was stopped while it changed what is known about the devices.
    Busy,
    /// The hypervisor refused.
    Refused(LogicalDeviceId, HypercallError),
}

impl Stays {
    /// Says why, and returns the errno for it.
    #[inline(never)]
    pub(super) fn report(self) -> Error {
        match self {
            Stays::Busy => {
                let text = "no hibernation: devices are being changed";
                say(Level::Err, None, text, &[]);
            }
            Stays::Refused(id, failure) => {
                let words = [
                    Word::Text(&DetachDeviceDomain::NAME),
                    Word::Device(id),
                    Word::Failure(failure),
                ];
                say(Level::Err, None, "no hibernation: % of %: %", &words);
            }
        }
        EBUSY
    }
}

impl Endpoint {
    /// Detaches the device from its domain, which keeps it from doing DMA, and notes where it was.
    /// Leaves the device's registers alone: its bus is closed, and the PCI core has saved them.
    ///
    /// Context: interrupts off, one CPU; nothing else runs.
    ///
    /// # Errors
    ///
    /// The device is where it was.
    pub(super) fn put_to_sleep(&self) -> Result<(), Stays> {
        let result = self.with_state_at_rest(|state| {
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
                Err(failure) => {
                    if readings::has_no_effect(failure) {
                        state.slept = None;
                    }
                    return Err(Stays::Refused(self.id(), failure));
                }
            };
            state.place = Place::Blocked(how);
            Ok(())
        });
        result.unwrap_or(Err(Stays::Busy))
    }

    /// Puts the device back where it was; if that fails, blocks it. Messages report failures.
    ///
    /// The system may have given up sleeping before this device was put to sleep. Then the device
    /// is still in its domain, and this attaches it there once more.
    ///
    /// Context: may sleep; nothing else changes the device's translation.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the device could be neither put back nor blocked.
    #[inline(never)]
    pub(crate) fn wake(&self, instance: &Instance) -> Result {
        let place = self.with_state(|state| {
            let Some(slept) = state.slept.take() else {
                return state.place;
            };
            if !state.is_replaced() {
                // This may be another host, where the device may be in any state.
                state.place = Place::Initial;
            }
            slept
        });
        match place {
            Place::In(domain) => self
                .enter_again(instance, domain)
                .or_else(|_| self.block(instance.domains())),
            Place::Blocked(_) => self.block(instance.domains()),
            Place::Initial => Ok(()),
        }
    }

    /// Puts the device back into a domain.
    fn enter_again(&self, instance: &Instance, domain: DomainId) -> Result {
        if instance.domains().identity() == Some(domain) {
            return self.attach(
                domain,
                TranslatedRequests::Forbidden,
                Demand::Optional,
                None,
                instance.domains(),
            );
        }
        let record = instance.list().find(domain).ok_or(ENODEV)?;
        self.attach(
            domain,
            TranslatedRequests::Allowed,
            Demand::Optional,
            Some(&record.stale),
            instance.domains(),
        )
    }
}
