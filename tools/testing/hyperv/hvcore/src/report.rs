// SPDX-License-Identifier: GPL-2.0
//! What the VMBus and vPCI layers tell the partition besides their answers: protocol violations and lost devices.

use core::fmt;

use alloc::vec::Vec;

use crate::ids::DeviceIndex;
use crate::platform::{LogLevel, Platform};

/// Why a function was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The bus left D0: the guest powered it off or closed its channel. The function stays the guest's.
    PoweredOff,
    /// The function was ejected: it is no longer the guest's until its bus is offered anew.
    Ejected,
    /// The bus's offer was withdrawn: none of its functions is the guest's any more.
    Rescinded,
    /// The guest dropped the whole VMBus connection, or a new kernel made a new one. The function may have been left as
    /// it was.
    Unloaded,
}

/// Something that the partition must know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A function was reset and the hypervisor gave up its interrupts (but for [`ResetCause::PoweredOff`]).
    FunctionReset {
        /// The function.
        device: DeviceIndex,
        /// Why.
        cause: ResetCause,
    },
    /// A function whose bus was withdrawn is being offered again.
    FunctionReturned {
        /// The function.
        device: DeviceIndex,
    },
    /// The guest lets a function master the bus.
    BusMasterEnabled {
        /// The function.
        device: DeviceIndex,
    },
    /// The guest wrote to a function's extended configuration space, where ATS is.
    ExtendedConfigWritten {
        /// The function.
        device: DeviceIndex,
    },
}

/// Violations counted and events not taken yet.
#[derive(Debug, Default)]
pub struct Report {
    violations: u64,
    events: Vec<Event>,
}

impl Report {
    /// Counts a protocol violation of the guest and logs `what`.
    pub(crate) fn violation(&mut self, platform: &mut impl Platform, what: fmt::Arguments<'_>) {
        self.violations = self.violations.saturating_add(1);
        platform.log(LogLevel::Error, format_args!("violation: {what}"));
    }

    /// Adds an event; one that is already waiting is not added again, which bounds the list.
    pub(crate) fn event(&mut self, event: Event) {
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    /// Violations since the start.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Takes all waiting events, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// Whether there is any.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }
}
