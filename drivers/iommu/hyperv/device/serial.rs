// SPDX-License-Identifier: GPL-2.0

//! The order in which devices were found.

use kernel::sync::atomic::{
    ordering::Relaxed,
    Atomic, //
};

/// Where a device stands in the list: later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    /// No device has it.
    pub(super) const BEFORE_ALL: Serial = Serial(0);
}

/// Gives each device a serial number.
pub(super) struct Serials(Atomic<u64>);

impl Serials {
    pub(super) fn new() -> Serials {
        Serials(Atomic::new(0))
    }

    /// A number behind all others.
    ///
    /// Context: any.
    pub(super) fn next(&self) -> Serial {
        Serial(self.0.fetch_add(1, Relaxed).wrapping_add(1))
    }
}
