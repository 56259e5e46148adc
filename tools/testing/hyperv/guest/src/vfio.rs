// SPDX-License-Identifier: GPL-2.0
//! VFIO: a user-space driver's view of a device and of its I/O address space, which is either a type 1 container or
//! one of iommufd's.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    vfio_device_feature, vfio_region_info, VFIO_BASE, VFIO_DEVICE_FEATURE_GET, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_TYPE,
};

use crate::mmio::MappedBar;

/// Request numbers: offsets from `VFIO_BASE` in the kernel's uapi header.
pub mod request {
    pub const SET_IOMMU: u32 = 2;
    pub const GROUP_GET_STATUS: u32 = 3;
    pub const GROUP_SET_CONTAINER: u32 = 4;
    pub const GROUP_GET_DEVICE_FD: u32 = 6;
    pub const DEVICE_GET_REGION_INFO: u32 = 8;
    pub const DEVICE_GET_IRQ_INFO: u32 = 9;
    pub const DEVICE_SET_IRQS: u32 = 10;
    pub const DEVICE_RESET: u32 = 11;
    pub const DEVICE_FEATURE: u32 = 17;
    pub const DEVICE_BIND_IOMMUFD: u32 = 18;
    pub const DEVICE_ATTACH_IOMMUFD_PT: u32 = 19;
    pub const DEVICE_DETACH_IOMMUFD_PT: u32 = 20;
    pub const IOMMU_GET_INFO: u32 = 12;
    pub const IOMMU_MAP_DMA: u32 = 13;
    pub const IOMMU_UNMAP_DMA: u32 = 14;
}

/// `VFIO_DEVICE_FEATURE_DMA_BUF`: part of a region as a dma-buf.
const FEATURE_DMA_BUF: u32 = 11;

/// Issues one VFIO request.
///
/// # Safety
/// `argument` must be what the request expects: a plain number, or a pointer to a structure that the kernel may read
/// and write, with its `argsz` telling the size.
pub unsafe fn vfio(file: &File, number: u32, argument: usize) -> nix::Result<i32> {
    let code = (u64::from(VFIO_TYPE) << 8) | u64::from(VFIO_BASE + number);
    // SAFETY: the caller vouches for the argument; the descriptor is open.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), code as libc::Ioctl, argument) })
}

/// Size of a request structure, for its `argsz` field.
pub fn argsz<T>() -> u32 {
    size_of::<T>() as u32
}

/// Opens a file for reading and writing, naming it in the error.
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).with_context(|| path.display().to_string())
}

/// The errno at the root of an error; `None` when it came about otherwise.
pub fn errno(error: &anyhow::Error) -> Option<Errno> {
    let from_io = || error.root_cause().downcast_ref::<std::io::Error>()?.raw_os_error().map(Errno::from_raw);
    error.root_cause().downcast_ref::<Errno>().copied().or_else(from_io)
}

/// An open device: its regions.
pub struct Device(File);

impl Device {
    /// Takes the file that VFIO handed out, or a character device.
    pub fn new(file: File) -> Device {
        Device(file)
    }

    /// The file, for requests.
    pub fn file(&self) -> &File {
        &self.0
    }

    fn region(&self, index: u32) -> Result<vfio_region_info> {
        let mut info = vfio_region_info { argsz: argsz::<vfio_region_info>(), index, ..Default::default() };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(&self.0, request::DEVICE_GET_REGION_INFO, &raw mut info as usize) }.context("region info")?;
        Ok(info)
    }

    /// Switches memory decoding and bus mastering on.
    ///
    /// # Errors
    /// When configuration space cannot be read or written.
    pub fn enable_bus_master(&self) -> Result<()> {
        let at = self.region(VFIO_PCI_CONFIG_REGION_INDEX)?.offset + 4;
        let mut command = [0; 2];
        self.0.read_exact_at(&mut command, at).context("reading COMMAND")?;
        command[0] |= 6;
        self.0.write_all_at(&command, at).context("writing COMMAND")
    }

    /// Maps the whole of BAR 0.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map_bar0(&self) -> Result<MappedBar> {
        self.map_bar(VFIO_PCI_BAR0_REGION_INDEX)
    }

    /// Maps the whole of a BAR.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map_bar(&self, number: u32) -> Result<MappedBar> {
        let info = self.region(VFIO_PCI_BAR0_REGION_INDEX + number)?;
        MappedBar::map(&self.0, info.offset, usize::try_from(info.size)?)
    }

    /// Resets the function.
    ///
    /// # Errors
    /// The kernel's errno; `EINVAL` when the function has no reset.
    pub fn reset(&self) -> nix::Result<()> {
        // SAFETY: the request takes no argument.
        unsafe { vfio(&self.0, request::DEVICE_RESET, 0) }.map(|_| ())
    }

    /// The first `bytes` bytes of BAR 0 as a dma-buf, by which another device can be let at them.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn export_bar0(&self, bytes: u64) -> nix::Result<File> {
        /// `struct vfio_device_feature` with `struct vfio_device_feature_dma_buf` of one range behind it.
        #[repr(C)]
        struct Request {
            argsz: u32,
            feature: u32,
            region: u32,
            open_flags: u32,
            flags: u32,
            ranges: u32,
            offset: u64,
            length: u64,
        }
        const _: () = assert!(size_of::<vfio_device_feature>() == 8 && size_of::<Request>() == 40);
        let mut argument = Request {
            argsz: argsz::<Request>(),
            feature: VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF,
            region: VFIO_PCI_BAR0_REGION_INDEX,
            open_flags: (libc::O_RDWR | libc::O_CLOEXEC) as u32,
            flags: 0,
            ranges: 1,
            offset: 0,
            length: bytes,
        };
        // SAFETY: the structure is writable and argsz tells its size.
        let file = unsafe { vfio(&self.0, request::DEVICE_FEATURE, &raw mut argument as usize) }?;
        // SAFETY: the kernel just handed out this descriptor to us alone.
        Ok(unsafe { File::from_raw_fd(file) })
    }
}
