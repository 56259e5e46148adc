// SPDX-License-Identifier: GPL-2.0
//! VFIO's older interface: a container with a type 1 IOMMU, which groups join as a whole.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;
use vfio_bindings::bindings::vfio::{
    vfio_group_status, vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap, vfio_iommu_type1_info, vfio_iova_range,
    VFIO_TYPE1v2_IOMMU, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_GROUP_FLAGS_VIABLE, VFIO_IOMMU_INFO_CAPS,
    VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, VFIO_NOIOMMU_IOMMU,
};

use crate::memory::{Rights, UserRange};
use crate::pci::PciFunction;
use crate::vfio::{argsz, open, request, vfio, Device};

/// An open `/dev/vfio/GROUP`.
pub struct Group(File);

/// An open `/dev/vfio/vfio`: once a group is in it and its type set, an I/O address space.
pub struct Container(File);

/// What a container makes of the groups in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An I/O address space (version 2 of type 1).
    Type1,
    /// Nothing: for groups that no IOMMU is in front of.
    NoIommu,
}

impl Group {
    /// The path of a group's character device.
    ///
    /// # Errors
    /// When the function is in no group.
    pub fn path(function: &PciFunction) -> Result<PathBuf> {
        let number = function.group().context("the device has no IOMMU group")?;
        Ok(Path::new("/dev/vfio").join(number.to_string()))
    }

    /// Opens the group of a function.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open(function: &PciFunction) -> Result<Group> {
        Group::open_at(&Group::path(function)?)
    }

    /// Opens the group that a character device stands for.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_at(path: &Path) -> Result<Group> {
        Ok(Group(open(path)?))
    }

    /// Whether every device of the group has a driver that leaves its DMA alone.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn is_viable(&self) -> nix::Result<bool> {
        let mut status = vfio_group_status { argsz: argsz::<vfio_group_status>(), flags: 0 };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&self.0, request::GROUP_GET_STATUS, &raw mut status as usize) }?;
        Ok(status.flags & VFIO_GROUP_FLAGS_VIABLE != 0)
    }

    /// Puts the group into a container.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn join(&self, container: &Container) -> nix::Result<()> {
        let descriptor = container.0.as_raw_fd();
        // SAFETY: the request reads one int.
        unsafe { vfio(&self.0, request::GROUP_SET_CONTAINER, &raw const descriptor as usize) }.map(|_| ())
    }

    /// Opens a device of the group, whose container has its type.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn device(&self, function: &PciFunction) -> nix::Result<Device> {
        let name = CString::new(function.address.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
        // SAFETY: the request reads a NUL-terminated string, which outlives the call.
        let device = unsafe { vfio(&self.0, request::GROUP_GET_DEVICE_FD, name.as_ptr() as usize) }?;
        // SAFETY: the kernel just handed out this descriptor to us alone.
        Ok(Device::new(unsafe { File::from_raw_fd(device) }))
    }
}

impl Container {
    /// Opens an empty container.
    ///
    /// # Errors
    /// When the kernel has no VFIO containers.
    pub fn open() -> Result<Container> {
        Ok(Container(open(Path::new("/dev/vfio/vfio"))?))
    }

    /// Says what it is to be; a group must be in it.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn set_kind(&self, kind: Kind) -> nix::Result<()> {
        let number = match kind {
            Kind::Type1 => VFIO_TYPE1v2_IOMMU,
            Kind::NoIommu => VFIO_NOIOMMU_IOMMU,
        };
        // SAFETY: the request takes a number.
        unsafe { vfio(&self.0, request::SET_IOMMU, number as usize) }.map(|_| ())
    }

    /// Maps memory of this process at `iova`, with the rights that the device is to have.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map_for(&self, iova: Iova, memory: UserRange, rights: Rights) -> nix::Result<()> {
        let flags = match rights {
            Rights::Read => VFIO_DMA_MAP_FLAG_READ,
            Rights::ReadWrite => VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            Rights::Write => VFIO_DMA_MAP_FLAG_WRITE,
        };
        let argument = vfio_iommu_type1_dma_map {
            argsz: argsz::<vfio_iommu_type1_dma_map>(),
            flags,
            vaddr: memory.address(),
            iova: iova.0,
            size: memory.bytes(),
        };
        // SAFETY: no reference points to memory of a `UserRange`; the pages stay pinned by the kernel while they are
        // mapped, even if the mapping in this process goes away first.
        unsafe { vfio(&self.0, request::IOMMU_MAP_DMA, &raw const argument as usize) }.map(|_| ())
    }

    /// Unmaps whole mappings inside a range; returns the number of bytes that went.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn unmap(&self, iova: Iova, bytes: u64) -> nix::Result<u64> {
        let mut argument = vfio_iommu_type1_dma_unmap {
            argsz: argsz::<vfio_iommu_type1_dma_unmap>(),
            iova: iova.0,
            size: bytes,
            ..Default::default()
        };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&self.0, request::IOMMU_UNMAP_DMA, &raw mut argument as usize) }?;
        Ok(argument.size)
    }

    /// The ranges of addresses that may be mapped, both ends included.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn iova_ranges(&self) -> Result<Vec<(Iova, Iova)>> {
        let mut buffer = [0_u64; 128];
        let bytes = size_of_val(&buffer);
        buffer[0] = bytes as u64;
        // SAFETY: the buffer starts with argsz = its size, is writable, and aligned for the structures inside.
        unsafe { vfio(&self.0, request::IOMMU_GET_INFO, buffer.as_mut_ptr() as usize) }.context("IOMMU info")?;
        let raw: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
        parse_iova_ranges(&raw).context("the IOMMU info has no IOVA ranges")
    }
}

/// A container with one group in it.
pub struct Space {
    // Fields drop in this order: the group leaves its container.
    group: Group,
    /// The container.
    pub container: Container,
}

impl Space {
    /// Makes a container for the group of a function that vfio-pci has.
    ///
    /// # Errors
    /// The first step that fails; the kernel's errno is the root of the error.
    pub fn new(function: &PciFunction) -> Result<Space> {
        let container = Container::open()?;
        let group = Group::open(function)?;
        if !group.is_viable().context("group status")? {
            bail!("the group of {} is not viable: another device of it has a host driver", function.address);
        }
        group.join(&container).context("set container")?;
        container.set_kind(Kind::Type1).context("set type 1 v2")?;
        Ok(Space { group, container })
    }

    /// Takes a group that is in a container whose kind is set.
    pub fn from_parts(group: Group, container: Container) -> Space {
        Space { group, container }
    }

    /// Opens a device of the group.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn take(&self, function: &PciFunction) -> Result<Device> {
        self.group.device(function).context("opening the device")
    }
}

/// Finds the IOVA ranges in an IOMMU info block with capability chain.
fn parse_iova_ranges(info: &[u8]) -> Option<Vec<(Iova, Iova)>> {
    let bytes = |at: usize, len: usize| info.get(at..at.checked_add(len)?);
    let u16_at = |at: usize| Some(u16::from_ne_bytes(bytes(at, 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes(at, 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes(at, 8)?.try_into().ok()?));
    if u32_at(4)? & VFIO_IOMMU_INFO_CAPS == 0 {
        return None;
    }
    let mut at = u32_at(std::mem::offset_of!(vfio_iommu_type1_info, cap_offset))? as usize;
    // The chain ends with 0; the block bounds its length.
    for _ in 0..info.len() / 8 {
        if at == 0 {
            return None;
        }
        if u32::from(u16_at(at)?) == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE {
            let size = size_of::<vfio_iova_range>();
            let range = |i: usize| Some((Iova(u64_at(at + 16 + size * i)?), Iova(u64_at(at + 24 + size * i)?)));
            return (0..u32_at(at + 8)? as usize).map(range).collect();
        }
        at = u32_at(at + 4)? as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_out_of_the_chain() {
        let mut info = vec![0_u8; 128];
        info[4] = VFIO_IOMMU_INFO_CAPS as u8;
        info[16] = 24; // first capability
        info[24] = 3; // some other one ...
        info[28] = 40; // ... followed by ours
        info[40] = 1;
        info[48] = 2;
        info[56..64].copy_from_slice(&0_u64.to_ne_bytes());
        info[64..72].copy_from_slice(&0xfedf_ffff_u64.to_ne_bytes());
        info[72..80].copy_from_slice(&0xfef0_0000_u64.to_ne_bytes());
        info[80..88].copy_from_slice(&0x7f_ffff_ffff_u64.to_ne_bytes());
        let ranges = parse_iova_ranges(&info).unwrap();
        assert_eq!(ranges, [(Iova(0), Iova(0xfedf_ffff)), (Iova(0xfef0_0000), Iova(0x7f_ffff_ffff))]);
        info[48] = 200;
        assert_eq!(parse_iova_ranges(&info), None);
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let mut info = vec![0_u8; 64];
        info[4] = VFIO_IOMMU_INFO_CAPS as u8;
        info[16] = 24;
        info[28] = 24;
        assert_eq!(parse_iova_ranges(&info), None);
    }
}
