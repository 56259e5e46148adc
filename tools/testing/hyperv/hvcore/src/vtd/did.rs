// SPDX-License-Identifier: GPL-2.0
//! Domain ids: the tags of the IOMMU's caches.
//!
//! No invalidation names a device: translations go by domain id. With one id for several devices, dropping what one of
//! them has cached, as it leaves, would drop what the others have, and hide a flush that the guest owes them. So each
//! device of a guest has an id of its own, and a domain's flush becomes one for each of its devices.

use crate::ids::DeviceIndex;

/// A domain id. Scalable mode keeps 0 for other uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(pub u16);

/// The ids of a guest's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceDids {
    devices: usize,
}

impl DeviceDids {
    /// For so many devices.
    pub const fn new(devices: usize) -> DeviceDids {
        DeviceDids { devices }
    }

    /// The device's id; `None` for an unknown device, or one that there is no number for.
    pub fn of(self, device: DeviceIndex) -> Option<Did> {
        let number = device.0.checked_add(1).filter(|number| *number <= self.devices)?;
        u16::try_from(number).ok().map(Did)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_shared_and_never_0() {
        let dids = DeviceDids::new(3);
        let ids: Vec<_> = (0..4).map(|device| dids.of(DeviceIndex(device))).collect();
        assert_eq!(ids, [Some(Did(1)), Some(Did(2)), Some(Did(3)), None]);
        assert_eq!(DeviceDids::new(1 << 17).of(DeviceIndex(0xffff)), None);
        assert_eq!(DeviceDids::new(1 << 17).of(DeviceIndex(usize::MAX)), None);
    }
}
