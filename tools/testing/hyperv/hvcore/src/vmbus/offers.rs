// SPDX-License-Identifier: GPL-2.0
//! What the host does with its offers of its own accord: withdraw, repeat, ask for an ejection.

use core::fmt;

use crate::ids::BusIndex;
use crate::platform::{LogLevel, Platform};
use crate::synic::{Sint, Synic};
use crate::vpci::Slot;

use super::channel::{Intent, Phase};
use super::connection::{send, send_offer};
use super::{message, Vmbus};

/// Why the host's request was refused; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// No bus with this index.
    NoSuchBus,
    /// The bus has no function in this slot, or not any more.
    NoSuchSlot,
    /// The bus is not in a state for it: already withdrawn, already offered, or its channel is not open.
    WrongState,
    /// The guest has not taken earlier messages yet.
    Busy,
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OfferError::NoSuchBus => "no such bus",
            OfferError::NoSuchSlot => "no such slot",
            OfferError::WrongState => "not in this state",
            OfferError::Busy => "the guest's message queue is full",
        })
    }
}

impl Vmbus {
    /// Withdraws a bus: the guest is told at once, its rings, GPADLs and interrupts are dropped, its functions reset.
    ///
    /// The guest answers with RELID_RELEASED when it has cleaned up.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn rescind(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        bus: BusIndex,
    ) -> Result<(), OfferError> {
        let channel = self.channels.get_mut(bus.0).ok_or(OfferError::NoSuchBus)?;
        if channel.intent() == Intent::Withhold {
            return Err(OfferError::WrongState);
        }
        if matches!(channel.phase(), Phase::Offered | Phase::Open) {
            let target = self.connection.target().ok_or(OfferError::WrongState)?;
            if synic.room(target, Sint::VMBUS) == 0 {
                return Err(OfferError::Busy);
            }
            let relid = channel.relid();
            channel.rescind(platform, &mut self.report);
            self.gpadls.remove_all_of(relid);
            platform.log(LogLevel::Info, format_args!("vmbus: rescind channel {}", relid.0));
            send(platform, synic, target, message::rescind(relid));
        }
        channel.set_intent(Intent::Withhold);
        Ok(())
    }

    /// Offers a withdrawn bus again, at once or as soon as the guest has released the previous offer.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn offer(&mut self, platform: &mut impl Platform, synic: &mut Synic, bus: BusIndex) -> Result<(), OfferError> {
        let channel = self.channels.get_mut(bus.0).ok_or(OfferError::NoSuchBus)?;
        if channel.intent() == Intent::Offer {
            return Err(OfferError::WrongState);
        }
        if let (Phase::Released, Some(target)) = (channel.phase(), self.connection.offer_target()) {
            if synic.room(target, Sint::VMBUS) == 0 {
                return Err(OfferError::Busy);
            }
            send_offer(platform, synic, &mut self.report, target, channel);
        }
        channel.set_intent(Intent::Offer);
        Ok(())
    }

    /// Asks the guest to give up the function in `slot`; it answers when it has.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn eject(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        bus: BusIndex,
        slot: Slot,
    ) -> Result<(), OfferError> {
        let foreign = self.windows_besides(bus);
        let channel = self.channels.get_mut(bus.0).ok_or(OfferError::NoSuchBus)?;
        channel.eject(slot)?;
        platform.log(LogLevel::Info, format_args!("vmbus: eject slot {slot} of channel {}", channel.relid().0));
        channel.service(platform, synic, &mut self.report, &foreign);
        Ok(())
    }
}
