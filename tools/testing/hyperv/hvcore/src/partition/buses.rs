// SPDX-License-Identifier: GPL-2.0
//! From the options to vPCI buses.

use alloc::vec::Vec;

use super::PartitionError;
use crate::ids::{BusIndex, DeviceIndex, Guid, LogicalDeviceId};
use crate::options::Options;
use crate::vmbus::{BusConfig, FunctionConfig};
use crate::vpci::Slot;

/// The buses for `device_count` functions: as assigned, or one function on each when nothing was.
pub(super) fn configure(options: &Options, device_count: usize) -> Result<Vec<BusConfig>, PartitionError> {
    let assigned = options.assigned().count();
    let sizes: Vec<usize> = match assigned {
        0 => (0..device_count).map(|_| 1).collect(),
        _ if assigned != device_count => {
            return Err(PartitionError::DeviceCount { assigned, found: device_count });
        }
        _ => options.assign.iter().map(Vec::len).collect(),
    };
    let mut devices = (0..device_count).map(DeviceIndex);
    let mut buses = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        // Function numbers follow the order of assignment, so that each bus has a function 0.
        let slots = (0..=7).filter_map(|function| Slot::new(0, function)).take(size);
        let functions = slots.zip(devices.by_ref()).map(|(slot, device)| FunctionConfig { slot, device }).collect();
        let node = options.numa.get(index).copied();
        buses.push(BusConfig { instance: Guid::default_instance(BusIndex(index)), functions, node });
    }
    for &(index, guid) in &options.guids {
        let bus = buses.get_mut(index.0).ok_or(PartitionError::NoSuchBus(index))?;
        bus.instance = guid;
    }
    Ok(buses)
}

/// The bus that a device is on and its logical device id; `None` when it is on none.
pub(super) fn place(buses: &[BusConfig], device: DeviceIndex) -> Option<(BusIndex, LogicalDeviceId)> {
    buses.iter().enumerate().find_map(|(index, bus)| {
        let function = bus.functions.iter().find(|function| function.device == device)?;
        Some((BusIndex(index), bus.instance.logical_device_id(function.slot.function())))
    })
}
