// SPDX-License-Identifier: GPL-2.0
//! A bus's configuration window: a slot selector, and the configuration space of the function that it selects.

use crate::ids::Gpa;
use crate::platform::{AccessSize, Platform};
use crate::report::{Event, Report};
use crate::status::Status;

use super::bus::{Bus, Function, Power, Presence};
use super::config::{all_ones, bytes_of, filter_read, lets_write_through, visible_bars, DeviceKind};
use super::{Plug, Slot, WINDOW_BYTES};

/// First register of the extended configuration space.
const EXTENDED_CONFIG: u16 = 0x100;
/// Offset of the page that shows the selected function.
const CONFIG_PAGE: u16 = 0x1000;

impl Bus {
    /// Offset of `gpa` in the configuration window, if it is in it.
    pub(crate) fn window_offset(&self, gpa: Gpa) -> Option<u16> {
        let offset = gpa.0.checked_sub(self.power.window()?.0)?;
        u16::try_from(offset).ok().filter(|_| offset < WINDOW_BYTES)
    }

    /// Reads from the window. All ones where no function answers.
    pub(crate) fn window_read(
        &self,
        platform: &mut impl Platform,
        report: &mut Report,
        offset: u16,
        size: AccessSize,
    ) -> Result<u32, Status> {
        match check_window_access(platform, report, offset, size)? {
            None => Ok(self.selector),
            Some(register) => Ok(match self.selected() {
                None => all_ones(size),
                Some(function) => {
                    let bars = visible_bars(platform.function_info(function.device).bar_probe);
                    let value = platform.config_read(function.device, register, size);
                    filter_read(&bars, self.device_kind(function.slot), register, size, value)
                }
            }),
        }
    }

    /// Writes to the window. Nothing happens where no function answers.
    pub(crate) fn window_write(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        offset: u16,
        size: AccessSize,
        value: u32,
    ) -> Status {
        match check_window_access(platform, report, offset, size) {
            Err(status) => return status,
            Ok(None) => self.selector = value,
            Ok(Some(register)) => {
                if let Some(device) = self.selected().map(|function| function.device) {
                    let bars = visible_bars(platform.function_info(device).bar_probe);
                    if lets_write_through(&bars, register) {
                        platform.config_write(device, register, size, value & all_ones(size));
                    }
                    if enables_bus_master(register, value) {
                        report.event(Event::BusMasterEnabled { device });
                    }
                    if register >= EXTENDED_CONFIG {
                        report.event(Event::ExtendedConfigWritten { device });
                    }
                }
            }
        }
        Status::SUCCESS
    }

    /// The function that configuration accesses reach now.
    fn selected(&self) -> Option<&Function> {
        let slot = Slot::from_wire(self.selector)?;
        let answers = matches!(self.power, Power::D0(_)) && self.plug == Plug::Connected;
        let found = self.functions.iter().find(|function| function.slot == slot)?;
        (answers && found.presence != Presence::Ejected).then_some(found)
    }

    fn device_kind(&self, slot: Slot) -> DeviceKind {
        match self.functions.iter().filter(|function| function.slot.device() == slot.device()).count() {
            0 | 1 => DeviceKind::SingleFunction,
            _ => DeviceKind::MultiFunction,
        }
    }
}

/// Whether a write sets the bus master bit of the command register. An access is aligned, so that it starts there if it
/// covers the bit at all.
fn enables_bus_master(register: u16, value: u32) -> bool {
    const COMMAND: u16 = 0x04;
    const BUS_MASTER: u32 = 1 << 2;
    register == COMMAND && value & BUS_MASTER != 0
}

/// The register that an access at `offset` of the window goes to; `None` for the slot selector.
fn check_window_access(
    platform: &mut impl Platform,
    report: &mut Report,
    offset: u16,
    size: AccessSize,
) -> Result<Option<u16>, Status> {
    let aligned = offset % bytes_of(size) == 0;
    match offset.checked_sub(CONFIG_PAGE) {
        Some(register) if aligned => Ok(Some(register)),
        None if offset == 0 && size == AccessSize::Dword => Ok(None),
        _ => {
            report.violation(platform, format_args!("vpci: {size:?} access at window offset {offset:#x}"));
            Err(Status::INVALID_PARAMETER)
        }
    }
}
