// SPDX-License-Identifier: GPL-2.0
//! VFIO: a user-space driver's view of a device and of its I/O address space, which is either a type 1 container or
//! one of iommufd's.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    vfio_device_feature, vfio_region_info, VFIO_BASE, VFIO_DEVICE_FEATURE_GET, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_TYPE,
};

use crate::iommufd::{self, Cdev};
use crate::memory::{DmaBuffer, Rights, UserRange, PAGE};
use crate::mmio::MappedBar;
use crate::pci::{write_sysfs, PciFunction};
use crate::type1;

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

/// Which of the kernel's two interfaces an address space comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackEnd {
    /// `/dev/vfio/GROUP` and a type 1 container.
    Type1,
    /// `/dev/vfio/devices/vfioN` and `/dev/iommu`.
    Iommufd,
}

/// What an interface does with devices whose interrupts are not isolated from each other (all that pci-hyperv has).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsafeInterrupts {
    /// It takes them.
    Allowed,
    /// It refuses them: the kernel's default.
    Refused,
}

impl BackEnd {
    /// Both.
    pub const ALL: [BackEnd; 2] = [BackEnd::Type1, BackEnd::Iommufd];

    /// Sets the interface's module parameter `allow_unsafe_interrupts`.
    ///
    /// # Errors
    /// When the kernel does not have the interface.
    pub fn set_unsafe_interrupts(self, policy: UnsafeInterrupts) -> Result<()> {
        let parameters = |module: &str| Path::new("/sys/module").join(module).join("parameters");
        // Without containers of VFIO's own they are iommufd's.
        let parameters = match self {
            BackEnd::Type1 if parameters("vfio_iommu_type1").exists() => parameters("vfio_iommu_type1"),
            BackEnd::Type1 | BackEnd::Iommufd => parameters("iommufd"),
        };
        let value = match policy {
            UnsafeInterrupts::Allowed => "1",
            UnsafeInterrupts::Refused => "0",
        };
        write_sysfs(&parameters.join("allow_unsafe_interrupts"), value)
    }
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

// Fields of both drop in this order: the device first.
enum Access {
    Type1 { device: Device, space: type1::Space },
    Iommufd { cdev: Cdev, space: iommufd::Space },
}

/// One device in an I/O address space of its own.
pub struct Session(Access);

impl Session {
    /// Allows it, binds the function to vfio-pci and opens it by either interface, with an empty address space.
    ///
    /// # Errors
    /// The first step that fails; [`errno`] finds the kernel's answer.
    pub fn open_by(function: &PciFunction, back_end: BackEnd) -> Result<Session> {
        back_end.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
        function.bind("vfio-pci")?;
        Session::open_bound(function, back_end)
    }

    /// Opens a function that vfio-pci has, under whatever policy is in force.
    ///
    /// # Errors
    /// The first step that fails; [`errno`] finds the kernel's answer.
    pub fn open_bound(function: &PciFunction, back_end: BackEnd) -> Result<Session> {
        Ok(Session(match back_end {
            BackEnd::Type1 => {
                let space = type1::Space::new(function)?;
                Access::Type1 { device: space.take(function)?, space }
            }
            BackEnd::Iommufd => {
                let space = iommufd::Space::new()?;
                Access::Iommufd { cdev: space.take(function)?, space }
            }
        }))
    }

    /// The device.
    pub fn device(&self) -> &Device {
        match &self.0 {
            Access::Type1 { device, .. } => device,
            Access::Iommufd { cdev, .. } => cdev.device(),
        }
    }

    /// Takes a device that is bound and attached.
    pub fn from_iommufd(cdev: Cdev, space: iommufd::Space) -> Session {
        Session(Access::Iommufd { cdev, space })
    }

    /// Device and address space, where they are iommufd's.
    ///
    /// # Errors
    /// When they are not.
    pub fn iommufd(&self) -> Result<(&Cdev, &iommufd::Space)> {
        match &self.0 {
            Access::Type1 { .. } => bail!("this device was opened by its group"),
            Access::Iommufd { cdev, space } => Ok((cdev, space)),
        }
    }

    /// The container, where the device was opened by its group.
    ///
    /// # Errors
    /// When it was not.
    pub fn type1(&self) -> Result<&type1::Space> {
        match &self.0 {
            Access::Type1 { space, .. } => Ok(space),
            Access::Iommufd { .. } => bail!("this device was opened by iommufd"),
        }
    }

    /// Maps memory of this process at `iova`, readable and writable.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map_range(&self, iova: Iova, memory: UserRange) -> nix::Result<()> {
        self.map_for(iova, memory, Rights::ReadWrite)
    }

    /// The same with the rights that the device is to have.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map_for(&self, iova: Iova, memory: UserRange, rights: Rights) -> nix::Result<()> {
        match &self.0 {
            Access::Type1 { space, .. } => space.container.map_for(iova, memory, rights),
            Access::Iommufd { space, .. } => space.iommufd.map_for(space.ioas, iova, memory, rights),
        }
    }

    /// Maps pages `first..first + count` of `buffer` at `iova`, readable and writable.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map(&self, iova: Iova, buffer: &DmaBuffer, first: usize, count: usize) -> nix::Result<()> {
        self.map_range(iova, buffer.range(first, count))
    }

    /// Unmaps what one mapping of `count` pages mapped.
    ///
    /// # Errors
    /// The kernel's errno, or a range that was not mapped as asked.
    pub fn unmap(&self, iova: Iova, count: usize) -> Result<()> {
        let bytes = (count * PAGE) as u64;
        let unmapped = match &self.0 {
            Access::Type1 { space, .. } => space.container.unmap(iova, bytes),
            Access::Iommufd { space, .. } => space.iommufd.unmap(space.ioas, iova, bytes),
        };
        let unmapped = unmapped.context("unmap")?;
        if unmapped != bytes {
            bail!("unmapped {unmapped:#x} bytes instead of {bytes:#x}");
        }
        Ok(())
    }

    /// The ranges of addresses that may be mapped, both ends included.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn iova_ranges(&self) -> Result<Vec<(Iova, Iova)>> {
        match &self.0 {
            Access::Type1 { space, .. } => space.container.iova_ranges(),
            Access::Iommufd { space, .. } => space.iommufd.iova_ranges(space.ioas).context("IOVA ranges"),
        }
    }

    /// Switches memory decoding and bus mastering on.
    ///
    /// # Errors
    /// When configuration space cannot be read or written.
    pub fn enable_bus_master(&self) -> Result<()> {
        self.device().enable_bus_master()
    }

    /// Maps the whole of BAR 0.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map_bar0(&self) -> Result<MappedBar> {
        self.device().map_bar0()
    }
}
