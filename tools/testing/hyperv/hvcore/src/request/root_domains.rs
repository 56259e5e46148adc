// SPDX-License-Identifier: GPL-2.0
//! What a root partition asks for about device domains, by literal offsets.

use super::interrupts::{DeviceId, Source};
use super::list::{List, PageNumber, Placement};
use super::refusal::Refusal;
use super::root::own_partition;
use crate::hypercall::calls::DomainCall;
use crate::hypercall::fields::Input;
use crate::hypercall::frame::{Frame, Output};
use crate::ids::{DomainId, Iova, Rid};
use crate::paging::PageSize;
use crate::status::Status;

/// What a root partition asks for about device domains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DomainRequest {
    /// One of a number that it chose.
    Create(Name),
    /// The end of one.
    Delete(Name),
    /// A requester is to be in one.
    Attach(Name, Rid),
    /// A requester is to be in none.
    Detach(Rid),
    /// These pages, at addresses that follow each other.
    Map(Map, Iova, List<PageNumber>),
    /// These pages, each at its address.
    MapSparse(Map, List<Placement>),
    /// Pages that follow each other are to be unmapped.
    Unmap(Name, Iova),
    /// These are to be.
    UnmapSparse(Name, List<Iova>),
    /// What is mapped at these addresses.
    Query(Name, List<Iova>, Output),
}

impl DomainRequest {
    /// Decodes the input of a call.
    ///
    /// # Errors
    /// A violation.
    pub(super) fn decode(call: DomainCall, frame: &Frame<'_>) -> Result<DomainRequest, Refusal> {
        let input = frame.input;
        Ok(match call {
            DomainCall::Create => DomainRequest::Create(create(input)?),
            DomainCall::Delete => DomainRequest::Delete(domain(input)?),
            DomainCall::Attach => DomainRequest::Attach(domain(input)?, requester(input, 0x18)?),
            DomainCall::Detach => {
                own_partition(input, 0x00)?;
                DomainRequest::Detach(requester(input, 0x08)?)
            }
            // The first address is behind what is mapped.
            DomainCall::Map => DomainRequest::Map(map(input)?, Iova(input.u64(0x20)), List::of(frame.list)?),
            DomainCall::MapSparse => DomainRequest::MapSparse(map(input)?, List::of(frame.list)?),
            DomainCall::Unmap => DomainRequest::Unmap(domain(input)?, Iova(input.u64(0x18))),
            DomainCall::UnmapSparse => DomainRequest::UnmapSparse(domain(input)?, List::of(frame.list)?),
            DomainCall::Query => {
                let output = frame.output.ok_or(Refusal::from(Status::INVALID_PARAMETER));
                DomainRequest::Query(domain(input)?, List::of(frame.list)?, output?)
            }
        })
    }
}

/// A domain as a call names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The partition's memory onto itself.
    Identity,
    /// Nothing gets through.
    Blocked,
    /// One that the partition creates.
    Own(DomainId),
}

/// What a device may do with a page. It may always read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// The size of a mapping that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
}

impl Size {
    /// Bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Size::Small => PageSize::Small.bytes(),
            Size::Large => PageSize::Large.bytes(),
        }
    }
}

/// Virtual trust level at `offset` (the own one, or 0 explicitly), and padding up to `end`.
fn own_level<const PADDING: usize>(input: Input<'_>, offset: usize) -> Result<(), Refusal> {
    const EXPLICIT_0: u8 = 1 << 4;
    match (input.u8(offset) & !EXPLICIT_0, input.is_zero::<PADDING>(offset + 1)) {
        (0, true) => Ok(()),
        _ => Err(Refusal::parameter("a virtual trust level or padding")),
    }
}

/// The 24-byte prefix: partition, level, padding, type, number.
fn domain(input: Input<'_>) -> Result<Name, Refusal> {
    const TYPE_S2: u32 = 0;
    own_partition(input, 0x00)?;
    own_level::<7>(input, 0x08)?;
    if input.u32(0x10) != TYPE_S2 {
        return Err(Refusal::parameter("a domain that is not of type S2"));
    }
    Ok(match input.u32(0x14) {
        0 => Name::Identity,
        u32::MAX => Name::Blocked,
        number => Name::Own(DomainId(number)),
    })
}

/// The requester of a PCI function's device id at `offset`.
fn requester(input: Input<'_>, offset: usize) -> Result<Rid, Refusal> {
    match Source::decode(DeviceId(input.u64(offset)))? {
        Source::Pci(rid) => Ok(rid),
        Source::IoApic => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a device that does no DMA")),
    }
}

/// Prefix; flags at 0x18, whose two bits change nothing here.
fn create(input: Input<'_>) -> Result<Name, Refusal> {
    const FORWARD_PROGRESS_REQUIRED: u32 = 1 << 0;
    const INHERIT_OWNING_VTL: u32 = 1 << 1;
    if input.u32(0x18) & !(FORWARD_PROGRESS_REQUIRED | INHERIT_OWNING_VTL) != 0 {
        return Err(Refusal::parameter("flags of a domain"));
    }
    domain(input)
}

/// What a call maps, without the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Into which domain.
    pub domain: Name,
    /// In pages of this size.
    pub size: Size,
    /// What devices may do.
    pub access: Access,
}

/// Prefix; level at 0x18, padding, flags at 0x1c.
///
/// # Errors
/// A violation: unknown flags, or pages that cannot be read.
fn map(input: Input<'_>) -> Result<Map, Refusal> {
    const READABLE: u32 = 1 << 0;
    const WRITABLE: u32 = 1 << 1;
    const KERNEL_EXECUTABLE: u32 = 1 << 2;
    const USER_EXECUTABLE: u32 = 1 << 3;
    const NOT_CACHED: u32 = 1 << 21;
    const LARGE_PAGE: u32 = 1 << 31;
    const KNOWN: u32 = READABLE | WRITABLE | KERNEL_EXECUTABLE | USER_EXECUTABLE | NOT_CACHED | LARGE_PAGE;
    let domain = domain(input)?;
    own_level::<3>(input, 0x18)?;
    let flags = input.u32(0x1c);
    if flags & !KNOWN != 0 {
        return Err(Refusal::parameter("flags of a mapping"));
    }
    if flags & READABLE == 0 {
        return Err(Refusal::parameter("a mapping that cannot be read"));
    }
    let size = if flags & LARGE_PAGE == 0 { Size::Small } else { Size::Large };
    let access = if flags & WRITABLE == 0 { Access::Read } else { Access::ReadWrite };
    Ok(Map { domain, size, access })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const PCI: u64 = 1 << 62;

    fn input(fields: &[(usize, u64, usize)]) -> Vec<u8> {
        let mut bytes = vec![0; 0x28];
        bytes[..8].fill(0xff);
        bytes[0x14] = 7;
        for (at, value, width) in fields {
            bytes[*at..at + width].copy_from_slice(&value.to_le_bytes()[..*width]);
        }
        bytes
    }

    const OWN: Name = Name::Own(DomainId(7));

    #[test]
    fn names() {
        let name = |fields: &[(usize, u64, usize)]| domain(Input::new(&input(fields)));
        assert_eq!(name(&[]), Ok(OWN));
        assert_eq!(name(&[(0, 1, 8), (8, 0x10, 1)]), Ok(OWN));
        assert_eq!(name(&[(0x14, 0, 4)]), Ok(Name::Identity));
        assert_eq!(name(&[(0x14, u64::MAX, 4)]), Ok(Name::Blocked));
        assert_eq!(name(&[(0, 2, 8)]).unwrap_err().status, Status(0x0d));
        for (at, value) in [(8, 1), (9, 1), (15, 1), (0x10, 1), (0x11, 1)] {
            assert_eq!(name(&[(at, value, 1)]).unwrap_err().status, Status(5), "{at:#x}");
        }
    }

    #[test]
    fn devices() {
        let bytes = input(&[(0x18, PCI | 0x28, 8)]);
        assert_eq!(requester(Input::new(&bytes), 0x18), Ok(Rid(0x28)));
        for id in [0x28, 2 << 62, 3 << 62, PCI | 1 << 16] {
            assert_eq!(
                requester(Input::new(&input(&[(0x18, id, 8)])), 0x18).unwrap_err().status,
                Status(0x57),
                "{id:#x}"
            );
        }
    }

    #[test]
    fn mappings() {
        let mapped = |flags: u64| map(Input::new(&input(&[(0x1c, flags, 4)])));
        let expected = |size, access| Ok(Map { domain: OWN, size, access });
        assert_eq!(mapped(1), expected(Size::Small, Access::Read));
        assert_eq!(mapped(3), expected(Size::Small, Access::ReadWrite));
        assert_eq!(mapped(0x8020_000f), expected(Size::Large, Access::ReadWrite));
        for flags in [0, 2, 0x1_0001, 0x8001, 0x11] {
            assert!(mapped(flags).unwrap_err().violation.is_some(), "{flags:#x}");
        }
        assert!(map(Input::new(&input(&[(0x1c, 1, 4), (0x19, 1, 1)]))).is_err());
        assert_eq!(create(Input::new(&input(&[(0x18, 3, 4)]))), Ok(OWN));
        assert!(create(Input::new(&input(&[(0x18, 4, 4)]))).is_err());
    }
}
