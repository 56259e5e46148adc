// SPDX-License-Identifier: GPL-2.0
//! Typed numbers that cross module borders.

/// A guest physical address, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl Gpa {
    /// The address `bytes` further on; `None` when it would wrap.
    pub fn checked_add(self, bytes: u64) -> Option<Gpa> {
        self.0.checked_add(bytes).map(Gpa)
    }

    /// Offset within the 4 KiB page, in bytes (0..=4095).
    pub fn page_offset(self) -> u64 {
        self.0 & 0xfff
    }
}

/// An I/O virtual address: what a device puts on the bus, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(pub u64);

/// A virtual processor's index, equal to its local APIC id under minihv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VpIndex(pub u32);

/// A passed-through physical function: its position in the list that the platform assigned (0..count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIndex(pub usize);

/// A vPCI bus, which is also one VMBus offer: its position in the list of buses (0..count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusIndex(pub usize);

/// A logical device id: `(b5 << 24 | b4 << 16 | b7 << 8 | (b6 & 0xf8)) | function` of the bus's instance GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalDeviceId(pub u64);

/// A device domain's number, as chosen by the guest (1..=0xffff_fffe).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

/// A message or event connection, as the guest names it in a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(pub u32);

/// A logical processor's number, equal to its local APIC id under minihv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LpIndex(pub u32);

/// A VMBus instance GUID, in `guid_t` byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

/// A NUMA node of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumaNode(pub u16);

/// A PCI requester id of the physical machine: bus 15:8, device 7:3, function 2:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub u16);
