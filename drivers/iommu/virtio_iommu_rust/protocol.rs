// SPDX-License-Identifier: GPL-2.0

//! The layouts of requests and events, and the meaning of the device's answers.
//!
//! The layouts are those of the UAPI header, and their sizes are checked against it. All numbers
//! are little endian. The device reads a request, and writes a tail of [`TAIL_BYTES`] behind it.

use kernel::{
    iommu::Iova,
    prelude::*,
    uapi, //
};
use zerocopy::byteorder::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout,
    Unaligned, //
};

/// The size of the tail in bytes: a status, and three reserved bytes.
pub(crate) const TAIL_BYTES: usize = size_of::<uapi::virtio_iommu_req_tail>();

/// The number of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointId(pub(crate) u32);

/// The number of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DomainId(pub(crate) u32);

/// What endpoints may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapFlags(u32);

impl MapFlags {
    pub(crate) const NONE: MapFlags = MapFlags(0);
    pub(crate) const READ: MapFlags = MapFlags(uapi::VIRTIO_IOMMU_MAP_F_READ);
    pub(crate) const WRITE: MapFlags = MapFlags(uapi::VIRTIO_IOMMU_MAP_F_WRITE);
    pub(crate) const MMIO: MapFlags = MapFlags(uapi::VIRTIO_IOMMU_MAP_F_MMIO);

    pub(crate) const fn with(self, other: MapFlags) -> MapFlags {
        MapFlags(self.0 | other.0)
    }

    pub(crate) const fn contains(self, other: MapFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The start of every request.
#[derive(IntoBytes, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    kind: u8,
    reserved: [u8; 3],
}

impl Head {
    const fn new(kind: u32) -> Head {
        Head {
            kind: kind as u8,
            reserved: [0; 3],
        }
    }
}

/// The kind of domain that an ATTACH request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    /// DMA goes through what is mapped.
    Mapped,
    /// DMA addresses are physical addresses.
    Bypass,
}

/// Puts an endpoint into a domain. The device makes the domain if it does not know it.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Attach {
    head: Head,
    domain: U32,
    endpoint: U32,
    flags: U32,
    reserved: [u8; 4],
}

impl Attach {
    pub(crate) fn new(domain: DomainId, translation: Translation, endpoint: EndpointId) -> Attach {
        let flags = match translation {
            Translation::Mapped => 0,
            Translation::Bypass => uapi::VIRTIO_IOMMU_ATTACH_F_BYPASS,
        };
        Attach {
            head: Head::new(uapi::VIRTIO_IOMMU_T_ATTACH),
            domain: U32::new(domain.0),
            endpoint: U32::new(endpoint.0),
            flags: U32::new(flags),
            reserved: [0; 4],
        }
    }
}

/// Maps a range. Both ends are inclusive.
#[derive(IntoBytes, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Map {
    head: Head,
    domain: U32,
    first: U64,
    last: U64,
    phys: U64,
    flags: U32,
}

impl Map {
    pub(crate) fn new(
        domain: DomainId,
        first: Iova,
        last: Iova,
        phys: u64,
        flags: MapFlags,
    ) -> Map {
        Map {
            head: Head::new(uapi::VIRTIO_IOMMU_T_MAP),
            domain: U32::new(domain.0),
            first: U64::new(first.as_u64()),
            last: U64::new(last.as_u64()),
            phys: U64::new(phys),
            flags: U32::new(flags.0),
        }
    }

    /// The range of a MAP request that was sent.
    pub(crate) fn range_of(request: &[u8]) -> Option<(Iova, Iova)> {
        let (map, _) = Map::read_from_prefix(request).ok()?;
        Some((Iova::new(map.first.get()), Iova::new(map.last.get())))
    }
}

/// Removes all mappings in a range. Both ends are inclusive, and the range must not split a
/// mapping.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Unmap {
    head: Head,
    domain: U32,
    first: U64,
    last: U64,
    reserved: [u8; 4],
}

impl Unmap {
    pub(crate) fn new(domain: DomainId, first: Iova, last: Iova) -> Unmap {
        Unmap {
            head: Head::new(uapi::VIRTIO_IOMMU_T_UNMAP),
            domain: U32::new(domain.0),
            first: U64::new(first.as_u64()),
            last: U64::new(last.as_u64()),
            reserved: [0; 4],
        }
    }
}

/// Asks for an endpoint's properties. The device writes them in front of the tail.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Probe {
    head: Head,
    endpoint: U32,
    reserved: [u8; 64],
}

impl Probe {
    pub(crate) fn new(endpoint: EndpointId) -> Probe {
        Probe {
            head: Head::new(uapi::VIRTIO_IOMMU_T_PROBE),
            endpoint: U32::new(endpoint.0),
            reserved: [0; 64],
        }
    }
}

const _: () = {
    assert!(size_of::<Attach>() + TAIL_BYTES == size_of::<uapi::virtio_iommu_req_attach>());
    assert!(size_of::<Map>() + TAIL_BYTES == size_of::<uapi::virtio_iommu_req_map>());
    assert!(size_of::<Unmap>() + TAIL_BYTES == size_of::<uapi::virtio_iommu_req_unmap>());
    assert!(size_of::<Probe>() == size_of::<uapi::virtio_iommu_req_probe>());
    assert!(size_of::<ReservedMemory>() == size_of::<uapi::virtio_iommu_probe_resv_mem>());
    assert!(size_of::<Fault>() == size_of::<uapi::virtio_iommu_fault>());
};

/// The size of the largest request that is sent very often, with its tail, in bytes.
pub(crate) const REQUEST_BYTES: usize = size_of::<Map>() + TAIL_BYTES;

/// The start of every property.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PropertyHead {
    kind: U16,
    /// How many bytes follow.
    length: U16,
}

/// A range of IOVAs that must not be mapped.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReservedMemory {
    head: PropertyHead,
    subtype: u8,
    reserved: [u8; 3],
    first: U64,
    last: U64,
}

/// A range of IOVAs, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) first: Iova,
    pub(crate) bytes: usize,
}

impl Region {
    /// [`None`] if `last` is below `first`, or the length does not fit into a `usize`.
    fn new(first: u64, last: u64) -> Option<Region> {
        let distance = usize::try_from(last.checked_sub(first)?).ok()?;
        Some(Region {
            first: Iova::new(first),
            bytes: distance.checked_add(1)?,
        })
    }
}

/// A property of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    /// IOVAs that must not be mapped.
    Reserved(Region),
    /// IOVAs at which the IOMMU handles interrupts itself.
    Msi(Region),
    /// A property that the driver does not know, with its number.
    Unknown(u16),
    /// A property that is cut off, or whose IOVAs make no range.
    Malformed,
}

/// The properties that the device has written for a [`Probe`].
pub(crate) struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Properties<'a> {
        Properties(bytes)
    }
}

/// Reads a property that reserves IOVAs.
fn reserved(bytes: &[u8]) -> Option<Property> {
    let (memory, _) = ReservedMemory::read_from_prefix(bytes).ok()?;
    let region = Region::new(memory.first.get(), memory.last.get())?;
    // The specification says that an unknown subtype is reserved memory.
    Some(match u32::from(memory.subtype) {
        uapi::VIRTIO_IOMMU_RESV_MEM_T_MSI => Property::Msi(region),
        _ => Property::Reserved(region),
    })
}

impl Iterator for Properties<'_> {
    type Item = Property;

    fn next(&mut self) -> Option<Property> {
        let (head, _) = PropertyHead::read_from_prefix(self.0).ok()?;
        let kind = head.kind.get() & uapi::VIRTIO_IOMMU_PROBE_T_MASK as u16;
        if u32::from(kind) == uapi::VIRTIO_IOMMU_PROBE_T_NONE {
            return None;
        }
        let bytes = size_of::<PropertyHead>() + usize::from(head.length.get());
        let Some((property, rest)) = self.0.split_at_checked(bytes) else {
            self.0 = &[];
            return Some(Property::Malformed);
        };
        self.0 = rest;
        if u32::from(kind) == uapi::VIRTIO_IOMMU_PROBE_T_RESV_MEM {
            Some(reserved(property).unwrap_or(Property::Malformed))
        } else {
            Some(Property::Unknown(kind))
        }
    }
}

/// A DMA access that the device has refused.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Fault {
    reason: u8,
    reserved: [u8; 3],
    flags: U32,
    endpoint: U32,
    reserved2: [u8; 4],
    address: U64,
}

impl Fault {
    /// Reads an event. [`None`] if it is too short or of another kind; the specification has the
    /// driver ignore unknown kinds.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Fault> {
        let (fault, _) = Fault::read_from_prefix(bytes).ok()?;
        (fault.reserved == [0; 3]).then_some(fault)
    }

    pub(crate) fn endpoint(&self) -> EndpointId {
        EndpointId(self.endpoint.get())
    }

    /// The reason in words.
    pub(crate) fn reason(&self) -> &'static str {
        match u32::from(self.reason) {
            uapi::VIRTIO_IOMMU_FAULT_R_DOMAIN => "the endpoint is in no domain",
            uapi::VIRTIO_IOMMU_FAULT_R_MAPPING => "no mapping allows it",
            _ => "the reason is not known",
        }
    }

    /// The kind of access in words.
    pub(crate) fn access(&self) -> &'static str {
        let flags = self.flags.get();
        let is = |flag| flags & flag != 0;
        match (
            is(uapi::VIRTIO_IOMMU_FAULT_F_READ),
            is(uapi::VIRTIO_IOMMU_FAULT_F_WRITE),
            is(uapi::VIRTIO_IOMMU_FAULT_F_EXEC),
        ) {
            (_, _, true) => "execute",
            (_, true, _) => "write",
            (true, ..) => "read",
            _ => "access",
        }
    }

    /// The address of the access, if the device says it.
    pub(crate) fn address(&self) -> Option<Iova> {
        let has_address = self.flags.get() & uapi::VIRTIO_IOMMU_FAULT_F_ADDRESS != 0;
        has_address.then(|| Iova::new(self.address.get()))
    }
}

/// The size of an event in bytes.
pub(crate) const EVENT_BYTES: usize = size_of::<Fault>();

/// The device's answer: success, or the errno for its status.
///
/// `written` is what the device has written. It must be `expected` bytes, of which the last ones
/// are the tail.
pub(crate) fn outcome(written: &[u8], expected: usize) -> Result {
    let tail = expected.checked_sub(TAIL_BYTES).ok_or(EIO)?;
    // If the device has written less, there is no tail.
    let status = match written.get(tail) {
        Some(status) if written.len() == expected => u32::from(*status),
        _ => return Err(EIO),
    };
    match status {
        uapi::VIRTIO_IOMMU_S_OK => Ok(()),
        uapi::VIRTIO_IOMMU_S_UNSUPP => Err(ENOSYS),
        uapi::VIRTIO_IOMMU_S_INVAL => Err(EINVAL),
        uapi::VIRTIO_IOMMU_S_RANGE => Err(ERANGE),
        uapi::VIRTIO_IOMMU_S_NOENT => Err(ENOENT),
        uapi::VIRTIO_IOMMU_S_FAULT => Err(EFAULT),
        uapi::VIRTIO_IOMMU_S_NOMEM => Err(ENOMEM),
        _ => Err(EIO),
    }
}
