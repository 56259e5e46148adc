// SPDX-License-Identifier: GPL-2.0
//! Memory maps: the firmware's, and what the guest gets to see of it.

use alloc::vec::Vec;

/// Addresses from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl PhysRange {
    /// Length in bytes.
    pub fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether all of `other` lies inside.
    pub fn contains(self, other: PhysRange) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether any byte is common.
    pub fn overlaps(self, other: PhysRange) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// What is left below and above `hole`; `None` where nothing is.
    pub fn without(self, hole: PhysRange) -> [Option<PhysRange>; 2] {
        let below = PhysRange { start: self.start, end: self.end.min(hole.start) };
        let above = PhysRange { start: self.start.max(hole.end), end: self.end };
        [below, above].map(|part| (part.start < part.end).then_some(part))
    }
}

/// What a region of the memory map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// Usable memory.
    Ram,
    /// Memory that holds ACPI tables.
    AcpiTables,
    /// Memory that holds pages which the hypervisor shows a root partition ([`crate::overlay`]).
    Overlays,
    /// Anything else, with its e820 number.
    Reserved(u32),
}

impl RangeKind {
    const E820_RAM: u32 = 1;
    const E820_RESERVED: u32 = 2;
    const E820_ACPI: u32 = 3;

    /// From the number that e820 maps use.
    pub fn from_e820(number: u32) -> RangeKind {
        match number {
            Self::E820_RAM => RangeKind::Ram,
            other => RangeKind::Reserved(other),
        }
    }

    /// Memory that the guest does not get.
    pub const HYPERVISOR: RangeKind = RangeKind::Reserved(Self::E820_RESERVED);

    /// Whether the guest may use it as memory.
    pub fn is_memory(self) -> bool {
        matches!(self, RangeKind::Ram | RangeKind::AcpiTables | RangeKind::Overlays)
    }

    /// The number that e820 maps use.
    pub fn e820(self) -> u32 {
        match self {
            RangeKind::Ram => Self::E820_RAM,
            RangeKind::AcpiTables => Self::E820_ACPI,
            // No RAM for the kernel's allocator; it maps these pages by themselves.
            RangeKind::Overlays => Self::E820_RESERVED,
            RangeKind::Reserved(number) => number,
        }
    }
}

/// A part of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where.
    pub range: PhysRange,
    /// What.
    pub kind: RangeKind,
}

/// The guest's view of `firmware`'s memory map. `carved` is what the hypervisor keeps or has put there: regions that follow
/// each other, all in the same RAM region.
pub fn guest_regions(firmware: &[Region], carved: &[Region]) -> Vec<Region> {
    let start = carved.first().map_or(0, |region| region.range.start);
    let taken = PhysRange { start, end: carved.last().map_or(start, |region| region.range.end) };
    let mut regions = Vec::new();
    for region in firmware {
        if region.kind != RangeKind::Ram || !region.range.overlaps(taken) {
            regions.push(*region);
            continue;
        }
        let [below, above] = region.range.without(taken);
        let ram = |part: Option<PhysRange>| part.map(|range| Region { range, kind: RangeKind::Ram });
        regions.extend(ram(below));
        regions.extend(carved);
        regions.extend(ram(above));
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: PhysRange = PhysRange { start: 0x80_0000, end: 0xc0_0000 };
    const ACPI: PhysRange = PhysRange { start: 0xc0_0000, end: 0xc1_0000 };

    const CARVED: [Region; 2] =
        [Region { range: OWN, kind: RangeKind::HYPERVISOR }, Region { range: ACPI, kind: RangeKind::AcpiTables }];

    fn ram(start: u64, end: u64) -> Region {
        Region { range: PhysRange { start, end }, kind: RangeKind::Ram }
    }

    #[test]
    fn the_hypervisor_is_cut_out() {
        let reserved = Region { range: PhysRange { start: 0xf0000, end: 0x10_0000 }, kind: RangeKind::Reserved(2) };
        let guest = guest_regions(&[ram(0, 0x9_fc00), reserved, ram(0x10_0000, 0x4000_0000)], &CARVED);
        let own = Region { range: OWN, kind: RangeKind::Reserved(2) };
        let acpi = Region { range: ACPI, kind: RangeKind::AcpiTables };
        let above = ram(0xc1_0000, 0x4000_0000);
        assert_eq!(guest, [ram(0, 0x9_fc00), reserved, ram(0x10_0000, 0x80_0000), own, acpi, above]);
        assert_eq!(guest.iter().map(|region| region.kind.e820()).collect::<Vec<_>>(), [1, 2, 1, 2, 3, 1]);
    }

    #[test]
    fn only_ram_is_memory() {
        assert!(RangeKind::from_e820(1).is_memory() && RangeKind::AcpiTables.is_memory());
        assert!(RangeKind::Overlays.is_memory() && RangeKind::Overlays.e820() == 2);
        // The firmware's own ACPI tables are not the guest's.
        assert!((2..8).all(|number| !RangeKind::from_e820(number).is_memory()));
        assert!((1..8).all(|number| RangeKind::from_e820(number).e820() == number));
    }

    proptest! {
        #[test]
        fn a_hole_is_left_out_and_nothing_else(start in 0u64..200, size in 1u64..200, hole in 0u64..300, width in 1u64..200) {
            let range = PhysRange { start, end: start + size };
            let hole = PhysRange { start: hole, end: hole + width };
            let parts = range.without(hole);
            for byte in 0..600 {
                let byte = PhysRange { start: byte, end: byte + 1 };
                let left = parts.iter().flatten().any(|part| part.contains(byte));
                prop_assert_eq!(left, range.contains(byte) && !hole.overlaps(byte));
            }
        }

        #[test]
        fn the_guest_never_owns_the_hypervisor(start in 0u64..0x100_0000, size in 0u64..0x200_0000) {
            for region in guest_regions(&[ram(start, start + size)], &CARVED) {
                prop_assert!(!region.kind.is_memory() || !region.range.overlaps(OWN));
            }
        }
    }
}
