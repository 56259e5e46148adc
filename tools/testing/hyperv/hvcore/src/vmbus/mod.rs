// SPDX-License-Identifier: GPL-2.0
//! The VMBus host: one connection to the guest, one channel per vPCI bus.
//!
//! Channel messages arrive by `HvPostMessage` and are answered through the SynIC; packets of the vPCI protocol travel
//! through each channel's pair of rings, announced by `HvSignalEvent`. Everything happens inside the guest's own
//! hypercalls, so an answer is in place when the call returns.

mod channel;
mod config;
mod connection;
mod gpadl;
mod message;
mod offers;
mod ring;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::ids::{BusIndex, ConnectionId, DeviceIndex, Gpa, LogicalDeviceId};
use crate::platform::{AccessSize, Platform};
use crate::report::{Event, Report};
use crate::request::retarget::RetargetInterrupt;
use crate::status::Status;
use crate::synic::Synic;
use crate::vpci::{Plug, Refusal};

use channel::Channel;
use connection::Connection;

pub use config::{BusConfig, ConfigError, FunctionConfig, Ids, Unload, Version, VmbusConfig, MAX_BUSES, MAX_FUNCTIONS};
pub use offers::OfferError;

/// Whether the guest may use a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Its bus is offered or open, and it was not ejected.
    Present,
    /// Its bus is not offered (not yet, or withdrawn), or it was ejected.
    Gone,
    /// It is offered, but a test has pulled the card ([`Vmbus::set_unplugged`]).
    Unplugged,
}

/// The host's side of VMBus.
#[derive(Debug)]
pub struct Vmbus {
    max_version: Version,
    unload: Unload,
    connection: Connection,
    channels: Vec<Channel>,
    gpadls: gpadl::GpadlTable,
    report: Report,
}

impl Vmbus {
    /// A host without a connection yet, every bus ready to be offered.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: VmbusConfig) -> Result<Vmbus, ConfigError> {
        config.check()?;
        let channels = config
            .buses
            .into_iter()
            .enumerate()
            .map(|(index, bus)| Channel::new(BusIndex(index), bus, config.vpci_max_version))
            .collect();
        Ok(Vmbus {
            max_version: config.max_version,
            unload: config.unload,
            connection: Connection::default(),
            channels,
            gpadls: gpadl::GpadlTable::default(),
            report: Report::default(),
        })
    }

    /// `HvSignalEvent`: the guest put packets into a channel's ring, or made room in the other one.
    ///
    /// Signals for a channel that is not open are ignored: they cross with a rescind or a close.
    pub fn signal_event(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        connection: ConnectionId,
        flag: u16,
    ) -> Status {
        let index = self.channels.iter().position(|channel| channel.connection_id() == connection);
        let foreign = self.windows_besides(BusIndex(index.unwrap_or(usize::MAX)));
        let Some(channel) = index.and_then(|index| self.channels.get_mut(index)) else {
            self.report.violation(platform, format_args!("signal to unknown connection {:#x}", connection.0));
            return Status::INVALID_CONNECTION_ID;
        };
        if flag != 0 {
            self.report.violation(platform, format_args!("signal with flag number {flag}"));
            return Status::INVALID_PARAMETER;
        }
        channel.service(platform, synic, &mut self.report, &foreign);
        Status::SUCCESS
    }

    /// `HvMemoryMappedIoRead` from a bus's configuration window.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when `gpa` is in no window or the access is not allowed there.
    pub fn mmio_read(&mut self, platform: &mut impl Platform, gpa: Gpa, size: AccessSize) -> Result<u32, Status> {
        match self.window_at(gpa) {
            Some((channel, report, offset)) => channel.bus().window_read(platform, report, offset, size),
            None => Err(self.outside_of_windows(platform, gpa)),
        }
    }

    /// `HvMemoryMappedIoWrite` to a bus's configuration window.
    ///
    /// [`Status::INVALID_PARAMETER`] when `gpa` is in no window or the access is not allowed there.
    pub fn mmio_write(&mut self, platform: &mut impl Platform, gpa: Gpa, size: AccessSize, value: u32) -> Status {
        match self.window_at(gpa) {
            Some((channel, report, offset)) => channel.bus_mut().window_write(platform, report, offset, size, value),
            None => self.outside_of_windows(platform, gpa),
        }
    }

    /// The channel whose bus has its window at `gpa`, and the offset in it. What a withdrawn bus left behind counts
    /// only where no living one has its window.
    fn window_at(&mut self, gpa: Gpa) -> Option<(&mut Channel, &mut Report, u16)> {
        let hit = |channel: &Channel| channel.bus().window_offset(gpa);
        let lives = |channel: &Channel| channel.bus().powered_window().is_some();
        let living = self.channels.iter().position(|channel| lives(channel) && hit(channel).is_some());
        let index = living.or_else(|| self.channels.iter().position(|channel| hit(channel).is_some()))?;
        let channel = self.channels.get_mut(index)?;
        let offset = hit(channel)?;
        Some((channel, &mut self.report, offset))
    }

    fn outside_of_windows(&mut self, platform: &mut impl Platform, gpa: Gpa) -> Status {
        if self.connection.is_up() {
            self.report.violation(platform, format_args!("MMIO outside of all windows at {:#x}", gpa.0));
        }
        Status::INVALID_PARAMETER
    }

    /// The configuration windows of all buses but one.
    fn windows_besides(&self, bus: BusIndex) -> Vec<Gpa> {
        let others = self.channels.iter().enumerate().filter(|(index, _)| *index != bus.0);
        others.filter_map(|(_, channel)| channel.bus().powered_window()).collect()
    }

    /// `HvRetargetDeviceInterrupt`: points an interrupt that the guest created at another processor or vector.
    ///
    /// [`Status::INVALID_DEVICE_ID`] for an unknown device, [`Status::INVALID_PARAMETER`] for an interrupt that it
    /// does not have or a target that does not exist.
    pub fn retarget(&mut self, platform: &mut impl Platform, input: &RetargetInterrupt) -> Status {
        for channel in &mut self.channels {
            if let Some(slot) = channel.bus().slot_of(input.device) {
                return channel.bus_mut().retarget(platform, &mut self.report, slot, input);
            }
        }
        self.report.violation(platform, format_args!("retarget for unknown device {:#x}", input.device.0));
        Status::INVALID_DEVICE_ID
    }

    /// Pulls a bus's card or puts it back: while it is out, configuration reads give all ones and writes do nothing.
    ///
    /// # Errors
    /// [`OfferError::NoSuchBus`].
    pub fn set_unplugged(&mut self, bus: BusIndex, plug: Plug) -> Result<(), OfferError> {
        let channel = self.channels.get_mut(bus.0).ok_or(OfferError::NoSuchBus)?;
        channel.bus_mut().set_plug(plug);
        Ok(())
    }

    /// Has messages on a bus refused from now on, whether it is offered or not.
    ///
    /// # Errors
    /// [`OfferError::NoSuchBus`].
    pub fn refuse(&mut self, bus: BusIndex, refusal: Refusal) -> Result<(), OfferError> {
        let channel = self.channels.get_mut(bus.0).ok_or(OfferError::NoSuchBus)?;
        channel.bus_mut().refuse(refusal);
        Ok(())
    }

    /// Ends all refusals.
    pub fn clear_refusals(&mut self) {
        self.channels.iter_mut().for_each(|channel| channel.bus_mut().clear_refusals());
    }

    /// Messages refused since the start.
    pub fn refused(&self) -> u64 {
        self.channels.iter().map(|channel| channel.bus().refused()).fold(0, u64::saturating_add)
    }

    /// The function with this logical device id, whatever its availability.
    pub fn device_for_logical_id(&self, id: LogicalDeviceId) -> Option<DeviceIndex> {
        self.channels.iter().find_map(|channel| channel.bus().device_for_logical_id(id))
    }

    /// The logical device id of a function; `None` when it is on no bus.
    pub fn logical_id_of(&self, device: DeviceIndex) -> Option<LogicalDeviceId> {
        self.channels.iter().find_map(|channel| channel.bus().logical_id_of(device))
    }

    /// Whether the guest may use a function now; [`Availability::Gone`] when it is on no bus.
    pub fn availability(&self, device: DeviceIndex) -> Availability {
        self.channels.iter().find_map(|channel| channel.availability(device)).unwrap_or(Availability::Gone)
    }

    /// Number of buses configured.
    pub fn bus_count(&self) -> usize {
        self.channels.len()
    }

    /// Protocol violations of the guest since the start.
    pub fn violations(&self) -> u64 {
        self.report.violations()
    }

    /// Takes what happened to functions since the last call, oldest first.
    ///
    /// To be called after every call that takes `&mut self`.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.report.take_events()
    }

    /// Whether there is anything to take.
    pub fn has_events(&self) -> bool {
        self.report.has_events()
    }
}
