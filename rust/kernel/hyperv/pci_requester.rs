// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's name for a requester id of PCI: `HV_DEVICE_ID` of type PCI.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Bits 63:62: the kind of an id.
const TYPE_PCI: u64 = 1 << 62;
/// Bit 50: the requester stands for everything behind a bridge in PCI-X mode. Bits 47:40 and 39:32
/// are the bridge's secondary and subordinate bus.
const SOURCE_SHADOW: u64 = 1 << 50;

/// The buses behind a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// The bus right behind the bridge.
    pub secondary: u8,
    /// The last bus behind the bridge.
    pub subordinate: u8,
}

/// A bus of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusAddress {
    /// The PCI segment.
    pub segment: u16,
    /// The number of the bus in the segment.
    pub number: u8,
}

/// The id of a requester in a PCI segment. Bits 15:8 of `requester` are its bus.
pub const fn encode(segment: u16, requester: u16, shadowed: Option<BusRange>) -> u64 {
    let id = TYPE_PCI | (segment as u64) << 16 | requester as u64;
    match shadowed {
        None => id,
        Some(buses) => {
            let buses = (buses.secondary as u64) << 8 | buses.subordinate as u64;
            id | SOURCE_SHADOW | buses << 32
        }
    }
}

/// What a further requester id of a function's DMA means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// The function's DMA may have this id as well as those before.
    Beside,
    /// A bridge replaces the ids before by this one, so that those never reach the IOMMU.
    Instead,
}

/// The way of a function's DMA to the IOMMU, followed by the requester ids that the DMA gets.
///
/// The segment of an id is that of the function that gives the id. For a function behind VMD that
/// is VMD's endpoint. The function itself is in a segment that the kernel has made up, and which
/// neither the IOMMU nor the hypervisor knows.
#[derive(Debug, Default)]
pub struct Path {
    /// The bus of the last id; [`None`] before the first one.
    bus: Option<BusAddress>,
}

/// What a requester id means on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the id means for the ids before.
    pub alias: Alias,
    /// The segment of the id.
    pub segment: u16,
}

impl Path {
    /// A path without an id so far.
    pub const fn new() -> Path {
        Path { bus: None }
    }

    /// Adds the next requester id, which a function on the bus `reporter` gives to the DMA.
    pub fn take(&mut self, reporter: BusAddress, requester: u16) -> Step {
        let segment = reporter.segment;
        let bus = BusAddress {
            segment,
            number: (requester >> 8) as u8,
        };
        let alias = match self.bus {
            None => Alias::Beside,
            Some(before) if before == reporter && before == bus => Alias::Beside,
            Some(_) => Alias::Instead,
        };
        self.bus = Some(bus);
        Step { alias, segment }
    }
}
