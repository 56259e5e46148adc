// SPDX-License-Identifier: GPL-2.0
//! The vPCI server: what stands behind the channel of a virtual PCI bus.
//!
//! It knows nothing of rings or channels: a bus takes a message and gives the answer back.

mod bus;
mod config;
mod interrupt;
mod message;
mod refusal;
#[cfg(test)]
mod tests;
mod window;

use core::fmt;

pub(crate) use bus::{Bus, Reply};
pub use config::visible_bars;
pub(crate) use message::status as plain_completion;
pub use refusal::{MessageKind, Refusal};

/// Bytes of a bus's configuration window: a page with the slot selector, a page with the selected function's
/// configuration space.
pub const WINDOW_BYTES: u64 = 0x2000;

/// A version of the vPCI protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Windows 10: 64 processors at most.
    V1_1,
    /// Server 2016: processor lists.
    V1_2,
    /// Server 2019: NUMA nodes in the list of functions.
    V1_3,
    /// Server 2022: 32-bit vectors.
    V1_4,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 4] = [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4];

    /// Major and minor number.
    pub const fn parts(self) -> (u16, u16) {
        match self {
            Version::V1_1 => (1, 1),
            Version::V1_2 => (1, 2),
            Version::V1_3 => (1, 3),
            Version::V1_4 => (1, 4),
        }
    }

    /// The version with this major and minor number.
    pub fn from_parts(major: u16, minor: u16) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.parts() == (major, minor))
    }

    /// The version in a message: minor 15:0, major 31:16.
    fn from_wire(word: u32) -> Option<Version> {
        Version::from_parts((word >> 16) as u16, word as u16)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.parts();
        write!(f, "{major}.{minor}")
    }
}

/// A position on a bus: device number 0..=31 and function number 0..=7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    device: u8,
    function: u8,
}

impl Slot {
    /// The position; `None` when a number is out of range.
    pub fn new(device: u8, function: u8) -> Option<Slot> {
        (device < 32 && function < 8).then_some(Slot { device, function })
    }

    /// The position in a message or the slot selector: device 4:0, function 7:5, the rest zero.
    pub fn from_wire(word: u32) -> Option<Slot> {
        (word < 256).then_some(Slot { device: word as u8 & 0x1f, function: word as u8 >> 5 })
    }

    /// See [`Slot::from_wire`].
    pub fn to_wire(self) -> u32 {
        u32::from((self.function << 5) | self.device)
    }

    /// Device number, 0..=31.
    pub fn device(self) -> u8 {
        self.device
    }

    /// Function number, 0..=7.
    pub fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.device, self.function)
    }
}

/// Whether a bus's card is in its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// As usual.
    Connected,
    /// A test has pulled it.
    Unplugged,
}
