// SPDX-License-Identifier: GPL-2.0
//! Input blocks of the calls about device domains, by literal offsets.

use super::domains::Name;
use super::interrupts::Source;
use super::layout::own_partition;
use super::refusal::Refusal;
use super::stage2::{Access, Size};
use crate::hypercall::fields::Input;
use crate::ids::{DomainId, Iova, Rid};
use crate::status::Status;

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
    match Source::decode(input.u64(offset))? {
        Source::Pci(rid) => Ok(rid),
        Source::IoApic => Err(Refusal::violation(Status::INVALID_DEVICE_ID, "a device that does no DMA")),
    }
}

/// Prefix; flags at 0x18, whose two bits change nothing here.
///
/// # Errors
/// A violation.
pub fn create(input: Input<'_>) -> Result<Name, Refusal> {
    const FORWARD_PROGRESS_REQUIRED: u32 = 1 << 0;
    const INHERIT_OWNING_VTL: u32 = 1 << 1;
    if input.u32(0x18) & !(FORWARD_PROGRESS_REQUIRED | INHERIT_OWNING_VTL) != 0 {
        return Err(Refusal::parameter("flags of a domain"));
    }
    domain(input)
}

/// The prefix alone.
///
/// # Errors
/// A violation.
pub fn delete(input: Input<'_>) -> Result<Name, Refusal> {
    domain(input)
}

/// Prefix; device at 0x18.
///
/// # Errors
/// A violation.
pub fn attach(input: Input<'_>) -> Result<(Name, Rid), Refusal> {
    Ok((domain(input)?, requester(input, 0x18)?))
}

/// Partition at 0x00, device at 0x08.
///
/// # Errors
/// A violation.
pub fn detach(input: Input<'_>) -> Result<Rid, Refusal> {
    own_partition(input, 0x00)?;
    requester(input, 0x08)
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
pub fn map(input: Input<'_>) -> Result<Map, Refusal> {
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

/// As [`map`]; first address at 0x20.
///
/// # Errors
/// A violation.
pub fn map_from(input: Input<'_>) -> Result<(Map, Iova), Refusal> {
    Ok((map(input)?, Iova(input.u64(0x20))))
}

/// Prefix; first address at 0x18.
///
/// # Errors
/// A violation.
pub fn unmap_from(input: Input<'_>) -> Result<(Name, Iova), Refusal> {
    Ok((domain(input)?, Iova(input.u64(0x18))))
}

/// The prefix alone, before a list of addresses.
///
/// # Errors
/// A violation.
pub fn addresses(input: Input<'_>) -> Result<Name, Refusal> {
    domain(input)
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
        let name = |fields: &[(usize, u64, usize)]| delete(Input::new(&input(fields)));
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
        assert_eq!(attach(Input::new(&bytes)), Ok((OWN, Rid(0x28))));
        for id in [0x28, 2 << 62, 3 << 62, PCI | 1 << 16] {
            assert_eq!(attach(Input::new(&input(&[(0x18, id, 8)]))).unwrap_err().status, Status(0x57), "{id:#x}");
        }
        assert_eq!(detach(Input::new(&input(&[(8, PCI | 0x1234, 8)]))), Ok(Rid(0x1234)));
        assert!(detach(Input::new(&input(&[(0, 9, 8), (8, PCI, 8)]))).is_err());
    }

    #[test]
    fn mappings() {
        let mapped = |flags: u64| map_from(Input::new(&input(&[(0x1c, flags, 4), (0x20, 0x5000, 8)])));
        let expected = |size, access| Ok((Map { domain: OWN, size, access }, Iova(0x5000)));
        assert_eq!(mapped(1), expected(Size::Small, Access::Read));
        assert_eq!(mapped(3), expected(Size::Small, Access::ReadWrite));
        assert_eq!(mapped(0x8020_000f), expected(Size::Large, Access::ReadWrite));
        for flags in [0, 2, 0x1_0001, 0x8001, 0x11] {
            assert!(mapped(flags).unwrap_err().violation.is_some(), "{flags:#x}");
        }
        assert!(map(Input::new(&input(&[(0x1c, 1, 4), (0x19, 1, 1)]))).is_err());
        assert_eq!(unmap_from(Input::new(&input(&[(0x18, 0x9000, 8)]))), Ok((OWN, Iova(0x9000))));
        assert_eq!(create(Input::new(&input(&[(0x18, 3, 4)]))), Ok(OWN));
        assert!(create(Input::new(&input(&[(0x18, 4, 4)]))).is_err());
    }
}
