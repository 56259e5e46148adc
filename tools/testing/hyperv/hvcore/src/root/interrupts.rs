// SPDX-License-Identifier: GPL-2.0
//! Interrupts of the machine's devices and of its I/O APIC, as the root partition maps them to its processors.

use alloc::collections::BTreeMap;

use super::processors::Processors;
use super::refusal::Refusal;
use crate::hypercall::fields::Input;
use crate::ids::{Rid, VpIndex};
use crate::platform::{Platform, RemapHandle, Trigger};
use crate::status::Status;
use crate::vtd::interrupt::{message_address, MESSAGE_DATA};

/// Vectors that the hypervisor keeps for itself.
const RESERVED_VECTORS: [u32; 6] = [0x1f, 0x29, 0x2c, 0x2d, 0x2f, 0xd2];
/// The requester id with which the emulated I/O APIC signs its messages.
const IO_APIC_REQUESTER: Rid = Rid(0xff00);

/// Who raises an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A PCI function, by message.
    Pci(Rid),
    /// A pin of the I/O APIC.
    IoApic,
}

impl Source {
    /// From a 64-bit device id.
    ///
    /// # Errors
    /// A violation: another kind of device, another PCI segment than the only one, reserved bits.
    pub fn decode(id: u64) -> Result<Source, Refusal> {
        const PCI: u64 = 1;
        const IO_APIC: u64 = 2;
        match id >> 62 {
            PCI => pci_requester(id).map(Source::Pci),
            IO_APIC if id & !(3 << 62) == 0 => Ok(Source::IoApic),
            IO_APIC => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "an I/O APIC that is not there")),
            _ => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a device id of a kind that a root has none of")),
        }
    }

    fn requester(self) -> Rid {
        match self {
            Source::Pci(rid) => rid,
            Source::IoApic => IO_APIC_REQUESTER,
        }
    }
}

/// The requester id in a device id of PCI's kind. Behind a bridge of PCI-X there is a range of buses, too, which tells the
/// hypervisor nothing that the requester id does not.
///
/// # Errors
/// A violation: a segment that does not exist, reserved bits.
pub fn pci_requester(id: u64) -> Result<Rid, Refusal> {
    const SOURCE_SHADOW: u64 = 1 << 50;
    const BUS_RANGE: u64 = 0xffff << 32;
    let reserved = id >> 51 & 0x7ff | id >> 48 & 3;
    if reserved != 0 || (id & SOURCE_SHADOW == 0 && id & BUS_RANGE != 0) {
        return Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a device id with reserved bits"));
    }
    match id >> 16 & 0xffff {
        0 => Ok(Rid(id as u16)),
        _ => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a PCI segment that is not there")),
    }
}

/// What an interrupt is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    source: Source,
    trigger: Trigger,
    vector: u8,
    vp: VpIndex,
}

impl MapRequest {
    /// Device at 0x08, flags at 0x10, base index at 0x14, logical entry at 0x18, type at 0x28, trigger at 0x2c, vector
    /// count at 0x30, vector at 0x38, target flags at 0x3c, format of the set at 0x40, then the set: banks that follow
    /// at 0x48, the banks from 0x50 on.
    ///
    /// # Errors
    /// A violation: anything but one fixed interrupt for one processor of the partition.
    pub fn decode(input: Input<'_>, processors: &Processors) -> Result<MapRequest, Refusal> {
        const PROCESSOR_SET: u32 = 2;
        let source = Source::decode(input.u64(0x08))?;
        if !input.is_zero::<0x18>(0x10) || input.u32(0x34) != 0 {
            return Err(Refusal::parameter("reserved fields of an interrupt"));
        }
        if input.u32(0x28) != 0 || input.u32(0x30) != 1 {
            return Err(Refusal::parameter("an interrupt that is not a single fixed one"));
        }
        let trigger = match (input.u32(0x2c), source) {
            (0, _) => Trigger::Edge,
            (1, Source::IoApic) => Trigger::Level,
            _ => return Err(Refusal::parameter("a trigger mode that the source does not have")),
        };
        let vector = input.u32(0x38);
        if !(0x10..=0xff).contains(&vector) || RESERVED_VECTORS.contains(&vector) {
            return Err(Refusal::parameter("a vector that is not the partition's to use"));
        }
        if input.u32(0x3c) != PROCESSOR_SET || input.u64(0x40) != 0 {
            return Err(Refusal::parameter("a target that is no sparse set"));
        }
        let vp = single_vp(input).ok_or(Refusal::parameter("a set that is not one processor"))?;
        if !processors.exists(vp) {
            return Err(Refusal::violation(Status::INVALID_VP_INDEX, "a processor that was not created"));
        }
        Ok(MapRequest { source, trigger, vector: vector as u8, vp })
    }
}

/// The only processor of a sparse set.
fn single_vp(input: Input<'_>) -> Option<VpIndex> {
    const BANKS: usize = 0x50;
    let mask = input.u64(0x48);
    let bank = input.u64(BANKS);
    let is_single = mask.count_ones() == 1 && bank.count_ones() == 1 && input.bytes().len() == BANKS + 8;
    is_single.then(|| VpIndex(mask.trailing_zeros() * 64 + bank.trailing_zeros()))
}

/// An interrupt that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    device: u64,
    /// What the device or the I/O APIC is programmed with.
    entry: Entry,
}

/// A source and 64 bits: address and data of a message, or an entry of the I/O APIC's redirection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    source: u32,
    word: u64,
}

impl Entry {
    /// As the call's output has it.
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.source.to_le_bytes());
        bytes[8..].copy_from_slice(&self.word.to_le_bytes());
        bytes
    }

    /// From the 16 bytes at `offset`.
    fn decode(input: Input<'_>, offset: usize) -> Option<Entry> {
        (input.u32(offset + 4) == 0).then(|| Entry { source: input.u32(offset), word: input.u64(offset + 8) })
    }

    /// What makes the interrupt arrive through the remapping entry `handle`.
    fn for_handle(request: &MapRequest, handle: RemapHandle) -> Entry {
        const MESSAGE: u32 = 1;
        const IO_APIC: u32 = 2;
        const LEVEL: u64 = 1 << 15;
        const REMAPPABLE: u64 = 1 << 48;
        match request.source {
            Source::Pci(_) => {
                let word = u64::from(message_address(handle)) | u64::from(MESSAGE_DATA) << 32;
                Entry { source: MESSAGE, word }
            }
            Source::IoApic => {
                let level = if request.trigger == Trigger::Level { LEVEL } else { 0 };
                // The index has 15 bits here and one more elsewhere, which a table of 256 entries does not need.
                let index = u64::from(handle.0 & 0x7fff) << 49;
                Entry { source: IO_APIC, word: u64::from(request.vector) | level | REMAPPABLE | index }
            }
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
    pub fn map(&mut self, platform: &mut impl Platform, device: u64, request: &MapRequest) -> Result<Entry, Refusal> {
        let MapRequest { source, trigger, vector, vp } = *request;
        let handle = platform.remap_requester(source.requester(), trigger, vp, vector);
        let handle = handle.ok_or(Refusal::from(Status::NO_RESOURCES))?;
        let entry = Entry::for_handle(request, handle);
        self.mapped.insert(handle, Mapping { device, entry });
        Ok(entry)
    }

    /// Ends what was mapped: device at 0x08, entry at 0x10, flags at 0x20.
    ///
    /// # Errors
    /// A violation: nothing of the kind was mapped.
    pub fn unmap(&mut self, platform: &mut impl Platform, input: Input<'_>) -> Result<(), Refusal> {
        let (device, entry) = (input.u64(0x08), Entry::decode(input, 0x10));
        if input.u32(0x20) != 0 {
            return Err(Refusal::parameter("flags of an unmapping"));
        }
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
    use super::super::processors::LpIndex;
    use super::*;
    use crate::testing::{Event, MockPlatform};
    use alloc::vec;
    use alloc::vec::Vec;

    const PCI: u64 = 1 << 62;
    const IO_APIC: u64 = 2 << 62;

    fn processors() -> Processors {
        let mut processors = Processors::new(2);
        processors.add(LpIndex(1), 1).unwrap();
        processors.all_started();
        processors.create(VpIndex(1), LpIndex(1)).unwrap();
        processors
    }

    struct Call(Vec<u8>);

    impl Call {
        /// Vector 0x31 of a device, for processor 1.
        fn new(device: u64) -> Call {
            let mut call = Call(vec![0; 0x58]);
            call.put(0x00, 1, 8).put(0x08, device, 8).put(0x30, 1, 4).put(0x38, 0x31, 4).put(0x3c, 2, 4);
            call.put(0x48, 1, 8).put(0x50, 2, 8);
            call
        }

        fn put(&mut self, at: usize, value: u64, bytes: usize) -> &mut Call {
            self.0[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            self
        }

        fn decode(&self) -> Result<MapRequest, Refusal> {
            MapRequest::decode(Input::new(&self.0), &processors())
        }
    }

    fn unmapping(device: u64, entry: Entry) -> Vec<u8> {
        let mut input = vec![0; 0x24];
        input[8..16].copy_from_slice(&device.to_le_bytes());
        input[16..32].copy_from_slice(&entry.encode());
        input
    }

    #[test]
    fn a_message_is_mapped_and_unmapped() {
        let (mut platform, mut interrupts) = (MockPlatform::new(Vec::new()), Interrupts::new());
        let device = PCI | 0x0020;
        let request = Call::new(device).decode().unwrap();
        let entry = interrupts.map(&mut platform, device, &request).unwrap();
        assert_eq!(entry, Entry { source: 1, word: 0xfee0_0010 });
        let remap = Event::RemapRequester(RemapHandle(0), Rid(0x20), Trigger::Edge, VpIndex(1), 0x31);
        assert_eq!(platform.take_events(), [remap]);
        let other = interrupts.map(&mut platform, device, &request).unwrap();
        assert_eq!((other.word, interrupts.count()), (0xfee0_0030, 2));
        // Another device's, another entry, flags.
        assert!(interrupts.unmap(&mut platform, Input::new(&unmapping(PCI | 0x28, entry))).is_err());
        let wrong = Entry { word: 0xfee0_0050, ..entry };
        assert!(interrupts.unmap(&mut platform, Input::new(&unmapping(device, wrong))).is_err());
        let mut flags = unmapping(device, entry);
        flags[0x20] = 1;
        assert!(interrupts.unmap(&mut platform, Input::new(&flags)).is_err());
        assert_eq!(interrupts.count(), 2);
        assert_eq!(interrupts.unmap(&mut platform, Input::new(&unmapping(device, entry))), Ok(()));
        assert_eq!(platform.take_events().last(), Some(&Event::RemapFree(RemapHandle(0))));
        assert!(interrupts.unmap(&mut platform, Input::new(&unmapping(device, entry))).is_err(), "twice");
        interrupts.unmap_all(&mut platform);
        assert_eq!(platform.take_events(), [Event::RemapFree(RemapHandle(1))]);
    }

    #[test]
    fn a_pin_is_mapped_with_its_trigger_mode() {
        let (mut platform, mut interrupts) = (MockPlatform::new(Vec::new()), Interrupts::new());
        platform.remap_limit = 2;
        let mut call = Call::new(IO_APIC);
        let edge = interrupts.map(&mut platform, IO_APIC, &call.decode().unwrap()).unwrap();
        let level = call.put(0x2c, 1, 4).decode().unwrap();
        let level = interrupts.map(&mut platform, IO_APIC, &level).unwrap();
        assert_eq!(edge, Entry { source: 2, word: 0x0001_0000_0000_0031 });
        assert_eq!(level, Entry { source: 2, word: 0x0003_0000_0000_8031 });
        let request = call.decode().unwrap();
        assert_eq!(interrupts.map(&mut platform, IO_APIC, &request), Err(Status::NO_RESOURCES.into()));
    }

    #[test]
    fn whatever_else_is_a_violation() {
        let refused = |at: usize, value: u64, bytes: usize| {
            let refusal = Call::new(PCI | 0x20).put(at, value, bytes).decode().unwrap_err();
            assert!(refusal.violation.is_some(), "{at:#x}");
            refusal.status.0
        };
        for (at, value, bytes) in [
            (0x10, 1, 4),    // Flags.
            (0x14, 1, 4),    // Base index.
            (0x18, 1, 4),    // A logical entry.
            (0x24, 1, 4),    // The same.
            (0x28, 1, 4),    // Lowest priority.
            (0x2c, 1, 4),    // A message with a level.
            (0x30, 2, 4),    // Two vectors.
            (0x34, 1, 4),    // Reserved.
            (0x38, 0x0f, 4), // An exception.
            (0x38, 0x1ff, 4),
            (0x38, 0xd2, 4), // The hypervisor's.
            (0x3c, 0, 4),    // A mask instead of a set.
            (0x40, 1, 8),    // All processors.
            (0x48, 3, 8),    // A bank that does not follow.
            (0x48, 0, 8),
            (0x50, 3, 8), // Two processors.
            (0x50, 0, 8), // None.
        ] {
            assert_eq!(refused(at, value, bytes), 5, "{at:#x} {value:#x}");
        }
        // A processor that does not exist, in this bank and in another one.
        assert_eq!(refused(0x50, 4, 8), 0x0e);
        assert_eq!(refused(0x48, 2, 8), 0x0e);
        for device in [0, 3 << 62, PCI | 1 << 16, PCI | 1 << 32, PCI | 1 << 48, PCI | 1 << 61, IO_APIC | 1] {
            assert_eq!(refused(0x08, device, 8), 0x57, "{device:#x}");
        }
        let mut long = Call::new(PCI | 0x20);
        long.0.extend([0; 8]);
        assert_eq!(long.decode().unwrap_err().status, Status(5));
    }

    #[test]
    fn a_function_behind_a_bridge_of_pci_x() {
        let id = PCI | 1 << 50 | 0x0203 << 32 | 0x0200;
        assert_eq!(Source::decode(id), Ok(Source::Pci(Rid(0x0200))));
    }
}
