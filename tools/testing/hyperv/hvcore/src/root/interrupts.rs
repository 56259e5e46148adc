// SPDX-License-Identifier: GPL-2.0
//! Interrupts of the machine's devices and of its I/O APIC, as the root partition maps them to its processors.

use alloc::collections::BTreeMap;

use crate::ids::Rid;
use crate::platform::{Platform, RemapHandle, Trigger};
use crate::request::interrupts::{DeviceId, Entry, MapInterrupt, Source, UnmapInterrupt};
use crate::request::refusal::Refusal;
use crate::status::Status;
use crate::vtd::interrupt::{message_address, MESSAGE_DATA};

/// The requester id with which the emulated I/O APIC signs its messages.
const IO_APIC_REQUESTER: Rid = Rid(0xff00);

/// An interrupt that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    device: DeviceId,
    /// What the device or the I/O APIC is programmed with.
    entry: Entry,
}

fn requester(source: Source) -> Rid {
    match source {
        Source::Pci(rid) => rid,
        Source::IoApic => IO_APIC_REQUESTER,
    }
}

/// What makes the interrupt arrive through the remapping entry `handle`.
fn entry_for(map: &MapInterrupt, handle: RemapHandle) -> Entry {
    const MESSAGE: u32 = 1;
    const IO_APIC: u32 = 2;
    const LEVEL: u64 = 1 << 15;
    const REMAPPABLE: u64 = 1 << 48;
    match map.source {
        Source::Pci(_) => {
            let word = u64::from(message_address(handle)) | u64::from(MESSAGE_DATA) << 32;
            Entry { source: MESSAGE, word }
        }
        Source::IoApic => {
            let level = if map.trigger == Trigger::Level { LEVEL } else { 0 };
            // The index has 15 bits here and one more elsewhere, which a table of 256 entries does not need.
            let index = u64::from(handle.0 & 0x7fff) << 49;
            Entry { source: IO_APIC, word: u64::from(map.vector) | level | REMAPPABLE | index }
        }
    }
}

/// All interrupts that are mapped.
#[derive(Debug, Default)]
pub struct Interrupts {
    mapped: BTreeMap<RemapHandle, Mapping>,
}

impl Interrupts {
    /// None.
    pub fn new() -> Interrupts {
        Interrupts::default()
    }

    /// Maps an interrupt; the entry is what its source is to be programmed with.
    ///
    /// # Errors
    /// [`Status::NO_RESOURCES`] when the machine has no remapping entry left.
    pub fn map(&mut self, platform: &mut impl Platform, map: &MapInterrupt) -> Result<Entry, Refusal> {
        let MapInterrupt { device, source, trigger, vector, vp } = *map;
        let handle = platform.remap_requester(requester(source), trigger, vp, vector);
        let handle = handle.ok_or(Refusal::from(Status::NO_RESOURCES))?;
        let entry = entry_for(map, handle);
        self.mapped.insert(handle, Mapping { device, entry });
        Ok(entry)
    }

    /// Ends what was mapped.
    ///
    /// # Errors
    /// A violation: nothing of the kind was mapped.
    pub fn unmap(&mut self, platform: &mut impl Platform, unmap: UnmapInterrupt) -> Result<(), Refusal> {
        let UnmapInterrupt { device, entry } = unmap;
        let is_meant = |mapping: &Mapping| mapping.device == device && Some(mapping.entry) == entry;
        let found = self.mapped.iter().find(|(_, mapping)| is_meant(mapping)).map(|(handle, _)| *handle);
        let handle = found.ok_or(Refusal::parameter("an interrupt that is not mapped"))?;
        self.mapped.remove(&handle);
        platform.remap_free(handle);
        Ok(())
    }

    /// Ends all.
    pub fn unmap_all(&mut self, platform: &mut impl Platform) {
        for handle in core::mem::take(&mut self.mapped).into_keys() {
            platform.remap_free(handle);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.mapped.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VpIndex;
    use crate::testing::{Event, MockPlatform};
    use alloc::vec::Vec;

    const PCI: u64 = 1 << 62;
    const IO_APIC: u64 = 2 << 62;

    fn edge(device: u64, source: Source) -> MapInterrupt {
        MapInterrupt { device: DeviceId(device), source, trigger: Trigger::Edge, vector: 0x31, vp: VpIndex(1) }
    }

    fn unmapping(device: u64, entry: Entry) -> UnmapInterrupt {
        UnmapInterrupt { device: DeviceId(device), entry: Some(entry) }
    }

    #[test]
    fn a_message_is_mapped_and_unmapped() {
        let (mut platform, mut interrupts) = (MockPlatform::new(Vec::new()), Interrupts::new());
        let device = PCI | 0x0020;
        let map = edge(device, Source::Pci(Rid(0x20)));
        let entry = interrupts.map(&mut platform, &map).unwrap();
        assert_eq!(entry, Entry { source: 1, word: 0xfee0_0010 });
        let remap = Event::RemapRequester(RemapHandle(0), Rid(0x20), Trigger::Edge, VpIndex(1), 0x31);
        assert_eq!(platform.take_events(), [remap]);
        let other = interrupts.map(&mut platform, &map).unwrap();
        assert_eq!((other.word, interrupts.count()), (0xfee0_0030, 2));
        // Another device's, another entry, none.
        assert!(interrupts.unmap(&mut platform, unmapping(PCI | 0x28, entry)).is_err());
        let wrong = Entry { word: 0xfee0_0050, ..entry };
        assert!(interrupts.unmap(&mut platform, unmapping(device, wrong)).is_err());
        let none = UnmapInterrupt { entry: None, ..unmapping(device, entry) };
        assert!(interrupts.unmap(&mut platform, none).is_err());
        assert_eq!(interrupts.count(), 2);
        assert_eq!(interrupts.unmap(&mut platform, unmapping(device, entry)), Ok(()));
        assert_eq!(platform.take_events().last(), Some(&Event::RemapFree(RemapHandle(0))));
        assert!(interrupts.unmap(&mut platform, unmapping(device, entry)).is_err(), "twice");
        interrupts.unmap_all(&mut platform);
        assert_eq!(platform.take_events(), [Event::RemapFree(RemapHandle(1))]);
    }

    #[test]
    fn a_pin_is_mapped_with_its_trigger_mode() {
        let (mut platform, mut interrupts) = (MockPlatform::new(Vec::new()), Interrupts::new());
        platform.remap_limit = 2;
        let map = edge(IO_APIC, Source::IoApic);
        let edge = interrupts.map(&mut platform, &map).unwrap();
        let level = interrupts.map(&mut platform, &MapInterrupt { trigger: Trigger::Level, ..map }).unwrap();
        assert_eq!(edge, Entry { source: 2, word: 0x0001_0000_0000_0031 });
        assert_eq!(level, Entry { source: 2, word: 0x0003_0000_0000_8031 });
        assert_eq!(interrupts.map(&mut platform, &map), Err(Status::NO_RESOURCES.into()));
    }
}
