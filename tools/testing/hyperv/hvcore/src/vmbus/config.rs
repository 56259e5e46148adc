// SPDX-License-Identifier: GPL-2.0
//! What a [`super::Vmbus`] is made of: protocol versions, buses and their functions.

use core::fmt;

use alloc::vec::Vec;

use crate::ids::{DeviceIndex, Guid, NumaNode};
use crate::vpci;

/// Most buses, such that all offers and their end mark fit into one message queue.
pub const MAX_BUSES: usize = 32;
/// Most functions on one bus, such that the list of them fits into the smallest ring.
pub const MAX_FUNCTIONS: usize = 32;

/// A version of the VMBus protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Windows 10, Server 2016.
    V4_0,
    /// Windows 10 1709; MODIFYCHANNEL appears.
    V4_1,
    /// Windows 10 1803; explicit message connection ids.
    V5_0,
    /// Windows 10 1803.
    V5_1,
    /// Server 2019.
    V5_2,
    /// Server 2022; MODIFYCHANNEL is answered.
    V5_3,
    /// Server 2025.
    V6_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 7] =
        [Version::V4_0, Version::V4_1, Version::V5_0, Version::V5_1, Version::V5_2, Version::V5_3, Version::V6_0];

    /// Major and minor number.
    pub const fn parts(self) -> (u16, u16) {
        match self {
            Version::V4_0 => (4, 0),
            Version::V4_1 => (4, 1),
            Version::V5_0 => (5, 0),
            Version::V5_1 => (5, 1),
            Version::V5_2 => (5, 2),
            Version::V5_3 => (5, 3),
            Version::V6_0 => (6, 0),
        }
    }

    /// The version with this major and minor number; `None` for one that does not exist or is older than 4.0.
    pub fn from_parts(major: u16, minor: u16) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.parts() == (major, minor))
    }

    /// The version in a message: minor 15:0, major 31:16.
    pub(super) fn from_wire(word: u32) -> Option<Version> {
        Version::from_parts((word >> 16) as u16, word as u16)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.parts();
        write!(f, "{major}.{minor}")
    }
}

/// A function on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionConfig {
    /// Where the guest finds it.
    pub slot: vpci::Slot,
    /// The physical function behind it.
    pub device: DeviceIndex,
}

/// One bus, which is one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusConfig {
    /// Instance GUID; [`Guid::default_instance`] is the usual choice.
    pub instance: Guid,
    /// The bus's functions, in the order in which the guest learns of them.
    pub functions: Vec<FunctionConfig>,
    /// Where they are, if the guest is told. vPCI 1.3 is the first version that tells it.
    pub node: Option<NumaNode>,
}

/// Everything a VMBus host needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmbusConfig {
    /// Newest protocol version that the host accepts.
    pub max_version: Version,
    /// Newest vPCI protocol version that every bus accepts.
    pub vpci_max_version: vpci::Version,
    /// The buses, in the order of their indices.
    pub buses: Vec<BusConfig>,
    /// Whether functions may share a logical device id.
    pub ids: Ids,
    /// What happens to the functions when the connection goes.
    pub unload: Unload,
}

/// Whether each function has a logical device id of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// It has.
    Unique,
    /// Several functions may have the same one.
    Shared,
}

/// What happens to the functions of a guest that drops its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unload {
    /// They are reset.
    Reset,
    /// They go on with what they do, but for interrupts.
    Keep,
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// More than [`MAX_BUSES`].
    TooManyBuses,
    /// More than [`MAX_FUNCTIONS`] on a bus.
    TooManyFunctions,
    /// Two buses have the same instance GUID.
    DuplicateInstance,
    /// A function is on two buses, or twice on one.
    DuplicateDevice,
    /// Two functions have the same logical device id: same GUID prefix and same function number.
    DuplicateLogicalId,
    /// A device number without function 0: the guest would never look further.
    NoFunctionZero,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigError::TooManyBuses => "too many buses",
            ConfigError::TooManyFunctions => "too many functions on one bus",
            ConfigError::DuplicateInstance => "two buses with the same instance GUID",
            ConfigError::DuplicateDevice => "the same physical function twice",
            ConfigError::DuplicateLogicalId => "two functions with the same logical device id",
            ConfigError::NoFunctionZero => "a device number without function 0",
        })
    }
}

impl VmbusConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.buses.len() > MAX_BUSES {
            return Err(ConfigError::TooManyBuses);
        }
        let mut devices = Vec::new();
        let mut ids = Vec::new();
        for (index, bus) in self.buses.iter().enumerate() {
            if bus.functions.len() > MAX_FUNCTIONS {
                return Err(ConfigError::TooManyFunctions);
            }
            if self.buses[..index].iter().any(|other| other.instance == bus.instance) {
                return Err(ConfigError::DuplicateInstance);
            }
            for function in &bus.functions {
                let id = bus.instance.logical_device_id(function.slot.function());
                if devices.contains(&function.device) {
                    return Err(ConfigError::DuplicateDevice);
                }
                if self.ids == Ids::Unique && ids.contains(&id) {
                    return Err(ConfigError::DuplicateLogicalId);
                }
                let leads = |other: &FunctionConfig| {
                    other.slot.device() == function.slot.device() && other.slot.function() == 0
                };
                if !bus.functions.iter().any(leads) {
                    return Err(ConfigError::NoFunctionZero);
                }
                devices.push(function.device);
                ids.push(id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BusIndex;

    fn function(device_number: u8, function: u8, device: usize) -> FunctionConfig {
        FunctionConfig { slot: vpci::Slot::new(device_number, function).unwrap(), device: DeviceIndex(device) }
    }

    fn check(buses: Vec<BusConfig>) -> Result<(), ConfigError> {
        check_as(buses, Ids::Unique)
    }

    fn check_as(buses: Vec<BusConfig>, ids: Ids) -> Result<(), ConfigError> {
        let vpci_max_version = vpci::Version::V1_4;
        VmbusConfig { max_version: Version::V6_0, vpci_max_version, buses, ids, unload: Unload::Reset }.check()
    }

    fn bus(index: usize, functions: Vec<FunctionConfig>) -> BusConfig {
        BusConfig { instance: Guid::default_instance(BusIndex(index)), functions, node: None }
    }

    #[test]
    fn sound_configurations() {
        assert_eq!(check(vec![]), Ok(()));
        assert_eq!(check(vec![bus(0, vec![])]), Ok(()));
        assert_eq!(
            check(vec![bus(0, vec![function(0, 0, 0), function(0, 1, 1)]), bus(1, vec![function(0, 0, 2)])]),
            Ok(())
        );
    }

    #[test]
    fn two_buses_may_ask_for_the_same_pci_domain() {
        let mut second = Guid::default_instance(BusIndex(1));
        second.0[4..6].copy_from_slice(&Guid::default_instance(BusIndex(0)).0[4..6]);
        let second = BusConfig { instance: second, functions: vec![function(0, 0, 1)], node: None };
        assert_eq!(check(vec![bus(0, vec![function(0, 0, 0)]), second]), Ok(()));
    }

    #[test]
    fn unsound_configurations() {
        assert_eq!(check((0..33).map(|i| bus(i, vec![])).collect()), Err(ConfigError::TooManyBuses));
        let many = (0..33).map(|i| function(0, 0, i)).collect();
        assert_eq!(check(vec![bus(0, many)]), Err(ConfigError::TooManyFunctions));
        assert_eq!(check(vec![bus(0, vec![]), bus(0, vec![])]), Err(ConfigError::DuplicateInstance));
        let twice = vec![bus(0, vec![function(0, 0, 0)]), bus(1, vec![function(0, 0, 0)])];
        assert_eq!(check(twice), Err(ConfigError::DuplicateDevice));
        let clash = vec![bus(0, vec![function(0, 0, 0), function(1, 0, 1)])];
        assert_eq!(check(clash.clone()), Err(ConfigError::DuplicateLogicalId));
        assert_eq!(check_as(clash, Ids::Shared), Ok(()));
        assert_eq!(check(vec![bus(0, vec![function(0, 1, 0)])]), Err(ConfigError::NoFunctionZero));
    }

    #[test]
    fn versions() {
        assert!(Version::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Version::from_wire(0x0005_0003), Some(Version::V5_3));
        assert_eq!(Version::from_wire(0x0003_0000), None);
        assert_eq!(Version::from_wire(0x0006_0001), None);
        assert_eq!(Version::V6_0.to_string(), "6.0");
    }
}
