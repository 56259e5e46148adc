// SPDX-License-Identifier: GPL-2.0
//! Interrupts that a root partition maps, by literal offset.

use super::refusal::Refusal;
use super::root::own_partition;
use crate::hypercall::fields::Input;
use crate::ids::{Rid, VpIndex};
use crate::platform::Trigger;
use crate::status::Status;

/// Vectors that the hypervisor keeps for itself.
const RESERVED_VECTORS: [u32; 6] = [0x1f, 0x29, 0x2c, 0x2d, 0x2f, 0xd2];

/// A 64-bit device id, as the partition gave it: any 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId(pub u64);

/// Who raises an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A PCI function, by message.
    Pci(Rid),
    /// A pin of the I/O APIC.
    IoApic,
}

impl Source {
    /// From a device id.
    ///
    /// # Errors
    /// A violation: another kind of device, another PCI segment than the only one, reserved bits.
    pub fn decode(DeviceId(id): DeviceId) -> Result<Source, Refusal> {
        const PCI: u64 = 1;
        const IO_APIC: u64 = 2;
        match id >> 62 {
            PCI => pci_requester(id).map(Source::Pci),
            IO_APIC if id & !(3 << 62) == 0 => Ok(Source::IoApic),
            IO_APIC => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "an I/O APIC that is not there")),
            _ => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a device id of a kind that a root has none of")),
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
pub struct MapInterrupt {
    /// What it is to be unmapped by.
    pub device: DeviceId,
    /// Who raises it.
    pub source: Source,
    /// How.
    pub trigger: Trigger,
    /// 16..=255, none of the hypervisor's own.
    pub vector: u8,
    /// For which processor; it may not exist.
    pub vp: VpIndex,
}

impl MapInterrupt {
    /// Partition at 0x00, device at 0x08, flags at 0x10, base index at 0x14, logical entry at 0x18, type at 0x28, trigger
    /// at 0x2c, vector count at 0x30, vector at 0x38, target flags at 0x3c, format of the set at 0x40, then the set: banks
    /// that follow at 0x48, the banks from 0x50 on.
    ///
    /// # Errors
    /// A violation: anything but one fixed interrupt for one processor.
    pub(super) fn decode(input: Input<'_>) -> Result<MapInterrupt, Refusal> {
        const PROCESSOR_SET: u32 = 2;
        own_partition(input, 0x00)?;
        let device = DeviceId(input.u64(0x08));
        let source = Source::decode(device)?;
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
        Ok(MapInterrupt { device, source, trigger, vector: vector as u8, vp })
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

/// A source and 64 bits: address and data of a message, or an entry of the I/O APIC's redirection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 for a message, 2 for an entry of the I/O APIC.
    pub source: u32,
    /// The bits.
    pub word: u64,
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
}

/// What was mapped and is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapInterrupt {
    /// As when it was mapped.
    pub device: DeviceId,
    /// What the source was programmed with; `None` for 16 bytes that no mapping returns.
    pub entry: Option<Entry>,
}

impl UnmapInterrupt {
    /// Partition at 0x00, device at 0x08, entry at 0x10, flags at 0x20.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(input: Input<'_>) -> Result<UnmapInterrupt, Refusal> {
        own_partition(input, 0x00)?;
        if input.u32(0x20) != 0 {
            return Err(Refusal::parameter("flags of an unmapping"));
        }
        Ok(UnmapInterrupt { device: DeviceId(input.u64(0x08)), entry: Entry::decode(input, 0x10) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const PCI: u64 = 1 << 62;
    const IO_APIC: u64 = 2 << 62;

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

        fn decode(&self) -> Result<MapInterrupt, Refusal> {
            MapInterrupt::decode(Input::new(&self.0))
        }
    }

    #[test]
    fn one_interrupt_for_one_processor() {
        let expected = MapInterrupt {
            device: DeviceId(PCI | 0x20),
            source: Source::Pci(Rid(0x20)),
            trigger: Trigger::Edge,
            vector: 0x31,
            vp: VpIndex(1),
        };
        assert_eq!(Call::new(PCI | 0x20).decode(), Ok(expected));
        let level = Call::new(IO_APIC).put(0x2c, 1, 4).decode().unwrap();
        assert_eq!((level.source, level.trigger), (Source::IoApic, Trigger::Level));
    }

    #[test]
    fn an_unmapping() {
        let mut input = vec![0; 0x24];
        input[..8].copy_from_slice(&1u64.to_le_bytes());
        input[8..16].copy_from_slice(&7u64.to_le_bytes());
        let entry = Entry { source: 1, word: 0xfee0_0010 };
        input[16..32].copy_from_slice(&entry.encode());
        let unmap = |input: &[u8]| UnmapInterrupt::decode(Input::new(input));
        assert_eq!(unmap(&input), Ok(UnmapInterrupt { device: DeviceId(7), entry: Some(entry) }));
        let changed = |at: usize| {
            let mut input = input.clone();
            input[at] = 2;
            unmap(&input)
        };
        assert_eq!(changed(0x14), Ok(UnmapInterrupt { device: DeviceId(7), entry: None }));
        assert_eq!(changed(0x20).unwrap_err().status, Status(5));
        assert_eq!(changed(0x00).unwrap_err().status, Status(0x0d));
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
        // Whether a processor exists, nobody knows here.
        assert_eq!(Call::new(PCI | 0x20).put(0x48, 2, 8).decode().map(|map| map.vp), Ok(VpIndex(65)));
        assert_eq!(refused(0x00, 2, 8), 0x0d);
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
        assert_eq!(Source::decode(DeviceId(id)), Ok(Source::Pci(Rid(0x0200))));
    }
}
