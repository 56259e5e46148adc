// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor calls a requester id of PCI: `HV_DEVICE_ID` of type PCI.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Bits 63:62: the kind of an id.
const TYPE_PCI: u64 = 1 << 62;
/// Bit 50: the requester stands for all that is behind a bridge in PCI-X mode; bits 47:40 and 39:32
/// tell that bridge's buses.
const SOURCE_SHADOW: u64 = 1 << 50;

/// The buses behind a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// The one right behind it.
    pub secondary: u8,
    /// The last one.
    pub subordinate: u8,
}

/// A bus of the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusAddress {
    /// The PCI segment.
    pub segment: u16,
    /// The bus in it.
    pub number: u8,
}

/// The id of a requester, 15:8 of which are its bus, in a PCI segment.
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

/// What one more requester id of a function's DMA means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// The function uses it, too, beside those before.
    Beside,
    /// A bridge puts it in place of those before: these never get to the IOMMU.
    Instead,
}

/// The way of a function's DMA up to the IOMMU, by the requester ids that it is given.
///
/// Only the function that gives an id tells in which segment the id is. For a function behind VMD
/// that is VMD's endpoint: the function itself is in a segment that the kernel made up, of which
/// neither the IOMMU nor the hypervisor knows.
#[derive(Debug, Default)]
pub struct Path {
    /// The bus of the ids so far; [`None`] before the first one.
    bus: Option<BusAddress>,
}

/// What the path says of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it means for those before.
    pub alias: Alias,
    /// The segment that it is in.
    pub segment: u16,
}

impl Path {
    /// The beginning.
    pub const fn new() -> Path {
        Path { bus: None }
    }

    /// Takes one more requester id, which a function on the bus `reporter` gives to DMA.
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
