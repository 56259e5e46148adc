// SPDX-License-Identifier: GPL-2.0
//! Domain ids: the tags of the IOMMU's caches.
//!
//! No invalidation names a device: translations go by domain id. With one id for several devices, dropping what one of
//! them has cached, as it leaves, would drop what the others have, and hide a flush that the guest owes them. So each
//! device has an id of its own, and a domain's flush becomes one for each of its devices.

use alloc::vec::Vec;

use crate::ids::DeviceIndex;
use crate::platform::CacheTag;

/// A domain id. Scalable mode keeps 0 for other uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(pub u16);

/// Which cache tag is in force for each device.
#[derive(Debug, Default)]
pub struct Dids {
    /// By device index.
    tags: Vec<Option<CacheTag>>,
}

impl Dids {
    /// None in force for any of `devices` devices.
    pub fn new(devices: usize) -> Dids {
        Dids { tags: (0..devices).map(|_| None).collect() }
    }

    /// The device's id; `None` for an unknown device, or one that there is no number for.
    pub fn of(&self, device: DeviceIndex) -> Option<Did> {
        self.tags.get(device.0)?;
        u16::try_from(device.0 + 1).ok().map(Did)
    }

    /// Puts `tag` in force for a device.
    pub fn set(&mut self, device: DeviceIndex, tag: CacheTag) {
        if let Some(entry) = self.tags.get_mut(device.0) {
            *entry = Some(tag);
        }
    }

    /// The ids of the devices for which `tag` is in force.
    pub fn under(&self, tag: CacheTag) -> impl Iterator<Item = Did> + '_ {
        let devices = (0..self.tags.len()).map(DeviceIndex);
        devices.filter(move |device| self.tags[device.0] == Some(tag)).filter_map(move |device| self.of(device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn under(dids: &Dids, tag: u16) -> Vec<u16> {
        dids.under(CacheTag(tag)).map(|did| did.0).collect()
    }

    #[test]
    fn a_flush_reaches_each_device_of_its_domain_and_no_other() {
        let mut dids = Dids::new(4);
        assert!(under(&dids, 7).is_empty());
        for (device, tag) in [(0, 7), (1, 8), (3, 7)] {
            dids.set(DeviceIndex(device), CacheTag(tag));
        }
        assert_eq!((under(&dids, 7), under(&dids, 8), under(&dids, 9)), (vec![1, 4], vec![2], vec![]));
        dids.set(DeviceIndex(0), CacheTag(8));
        assert_eq!((under(&dids, 7), under(&dids, 8)), (vec![4], vec![1, 2]));
    }

    #[test]
    fn ids_are_never_shared_and_never_0() {
        let dids = Dids::new(3);
        let ids: Vec<_> = (0..4).map(|device| dids.of(DeviceIndex(device))).collect();
        assert_eq!(ids, [Some(Did(1)), Some(Did(2)), Some(Did(3)), None]);
        assert_eq!(Dids::new(1 << 17).of(DeviceIndex(0xffff)), None);
    }

    #[test]
    fn unknown_devices_are_ignored() {
        let mut dids = Dids::new(1);
        dids.set(DeviceIndex(1), CacheTag(7));
        assert!(under(&dids, 7).is_empty());
    }
}
