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

/// Reads one more requester id, which a function on the bus `reporter` gives to DMA. `bus` is the
/// bus of the ids before.
pub const fn read_alias(bus: u8, reporter: u8, requester: u16) -> Alias {
    if reporter == bus && (requester >> 8) as u8 == bus {
        Alias::Beside
    } else {
        Alias::Instead
    }
}
