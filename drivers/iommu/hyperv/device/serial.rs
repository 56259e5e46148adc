// SPDX-License-Identifier: GPL-2.0

//! The order in which devices were found.

use kernel::sync::atomic::{
    ordering::Relaxed,
    Atomic, //
};

/// The place of a device in the list. Devices that were found later have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    /// Lower than the number of any device.
    pub(super) const BEFORE_ALL: Serial = Serial(0);
}

/// Gives each device a serial number.
pub(super) struct Serials(Atomic<u64>);

impl Serials {
    pub(super) fn new() -> Serials {
        Serials(Atomic::new(0))
    }

    /// A number higher than all given out before.
    ///
    /// Context: any.
    pub(super) fn next(&self) -> Serial {
        Serial(self.0.fetch_add(1, Relaxed).wrapping_add(1))
    }
}
