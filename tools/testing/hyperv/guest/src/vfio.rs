// SPDX-License-Identifier: GPL-2.0
//! VFIO with a type 1 container: a user-space driver's view of the IOMMU.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    vfio_group_status, vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap, vfio_iommu_type1_info, vfio_iova_range,
    vfio_region_info, VFIO_TYPE1v2_IOMMU, VFIO_BASE, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE,
    VFIO_GROUP_FLAGS_VIABLE, VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_TYPE,
};

use crate::memory::{DmaBuffer, PAGE};
use crate::mmio::MappedBar;
use crate::pci::{write_sysfs, PciFunction};

const UNSAFE_INTERRUPTS: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

/// Request numbers: offsets from `VFIO_BASE` in the kernel's uapi header.
mod request {
    pub const SET_IOMMU: u32 = 2;
    pub const GROUP_GET_STATUS: u32 = 3;
    pub const GROUP_SET_CONTAINER: u32 = 4;
    pub const GROUP_GET_DEVICE_FD: u32 = 6;
    pub const DEVICE_GET_REGION_INFO: u32 = 8;
    pub const IOMMU_GET_INFO: u32 = 12;
    pub const IOMMU_MAP_DMA: u32 = 13;
    pub const IOMMU_UNMAP_DMA: u32 = 14;
}

/// Issues one VFIO request.
///
/// # Safety
/// `argument` must be what the request expects: a plain number, or a pointer to a structure that the kernel may read
/// and write, with its `argsz` telling the size.
unsafe fn vfio(file: &File, number: u32, argument: usize) -> nix::Result<i32> {
    let code = (u64::from(VFIO_TYPE) << 8) | u64::from(VFIO_BASE + number);
    // SAFETY: the caller vouches for the argument; the descriptor is open.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), code as libc::Ioctl, argument) })
}

/// Size of a request structure, for its `argsz` field.
fn argsz<T>() -> u32 {
    size_of::<T>() as u32
}

/// A container with one group and one device in it: its own I/O address space.
pub struct Session {
    // Fields drop in this order: the device first.
    device: File,
    _group: File,
    container: File,
}

/// Opens a file for reading and writing, naming it in the error.
fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).with_context(|| path.display().to_string())
}

impl Session {
    /// Binds the function to vfio-pci and opens it with an empty address space.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn open(function: &PciFunction) -> Result<Session> {
        write_sysfs(Path::new(UNSAFE_INTERRUPTS), "1")?;
        function.bind("vfio-pci")?;
        let number = function.group().context("the device has no IOMMU group")?;
        let container = open(Path::new("/dev/vfio/vfio"))?;
        let group = open(&Path::new("/dev/vfio").join(number.to_string()))?;

        let mut status = vfio_group_status { argsz: argsz::<vfio_group_status>(), flags: 0 };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&group, request::GROUP_GET_STATUS, &raw mut status as usize) }.context("group status")?;
        if status.flags & VFIO_GROUP_FLAGS_VIABLE == 0 {
            bail!("group {number} is not viable: another device of it has a host driver");
        }
        let descriptor = container.as_raw_fd();
        // SAFETY: the request reads one int.
        unsafe { vfio(&group, request::GROUP_SET_CONTAINER, &raw const descriptor as usize) }
            .context("set container")?;
        // SAFETY: the request takes a number.
        unsafe { vfio(&container, request::SET_IOMMU, VFIO_TYPE1v2_IOMMU as usize) }.context("set type 1 v2")?;
        let name = std::ffi::CString::new(function.address.as_str())?;
        // SAFETY: the request reads a NUL-terminated string, which outlives the call.
        let device = unsafe { vfio(&group, request::GROUP_GET_DEVICE_FD, name.as_ptr() as usize) }
            .context("opening the device")?;
        // SAFETY: the kernel just handed out this descriptor to us alone.
        let device = unsafe { File::from_raw_fd(device) };
        Ok(Session { device, _group: group, container })
    }

    /// Maps pages `first..first + count` of `buffer` at `iova`, readable and writable.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map(&self, iova: Iova, buffer: &DmaBuffer, first: usize, count: usize) -> nix::Result<()> {
        assert!(count > 0 && first + count <= buffer.pages(), "mapping outside the buffer");
        let request = vfio_iommu_type1_dma_map {
            argsz: argsz::<vfio_iommu_type1_dma_map>(),
            flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            vaddr: buffer.address(first),
            iova: iova.0,
            size: (count * PAGE) as u64,
        };
        // SAFETY: the structure describes a range inside `buffer`, whose memory no reference points to; the pages
        // stay pinned by the kernel while they are mapped, even if the buffer goes away first.
        unsafe { vfio(&self.container, request::IOMMU_MAP_DMA, &raw const request as usize) }.map(|_| ())
    }

    /// Unmaps what one call of [`Session::map`] mapped.
    ///
    /// # Errors
    /// The kernel's errno, or a range that was not mapped as asked.
    pub fn unmap(&self, iova: Iova, count: usize) -> Result<()> {
        let bytes = (count * PAGE) as u64;
        let mut request = vfio_iommu_type1_dma_unmap {
            argsz: argsz::<vfio_iommu_type1_dma_unmap>(),
            iova: iova.0,
            size: bytes,
            ..Default::default()
        };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&self.container, request::IOMMU_UNMAP_DMA, &raw mut request as usize) }.context("unmap")?;
        if request.size != bytes {
            bail!("unmapped {:#x} bytes instead of {bytes:#x}", request.size);
        }
        Ok(())
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
        unsafe { vfio(&self.container, request::IOMMU_GET_INFO, buffer.as_mut_ptr() as usize) }
            .context("IOMMU info")?;
        let raw: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
        parse_iova_ranges(&raw).context("the IOMMU info has no IOVA ranges")
    }

    fn region(&self, index: u32) -> Result<vfio_region_info> {
        let mut info = vfio_region_info { argsz: argsz::<vfio_region_info>(), index, ..Default::default() };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&self.device, request::DEVICE_GET_REGION_INFO, &raw mut info as usize) }
            .context("region info")?;
        Ok(info)
    }

    /// Switches memory decoding and bus mastering on.
    ///
    /// # Errors
    /// When configuration space cannot be read or written.
    pub fn enable_bus_master(&self) -> Result<()> {
        let at = self.region(VFIO_PCI_CONFIG_REGION_INDEX)?.offset + 4;
        let mut command = [0; 2];
        self.device.read_exact_at(&mut command, at).context("reading COMMAND")?;
        command[0] |= 6;
        self.device.write_all_at(&command, at).context("writing COMMAND")
    }

    /// Maps the whole of BAR 0.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map_bar0(&self) -> Result<MappedBar> {
        let info = self.region(VFIO_PCI_BAR0_REGION_INDEX)?;
        MappedBar::map(&self.device, info.offset, usize::try_from(info.size)?)
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
