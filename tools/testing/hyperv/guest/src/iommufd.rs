// SPDX-License-Identifier: GPL-2.0
//! iommufd and VFIO's character devices: an I/O address space (IOAS) that devices are attached to one by one.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{bail, Context, Result};
use hvcore::ids::{Gpa, Iova};
use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    vfio_device_attach_iommufd_pt, vfio_device_bind_iommufd, vfio_device_detach_iommufd_pt,
};

use crate::iommufd_abi::{
    iommu_destroy, iommu_hw_info, iommu_hwpt_alloc, iommu_ioas_alloc, iommu_ioas_iova_ranges, iommu_ioas_map,
    iommu_ioas_map_file, iommu_ioas_noiommu_get_pa, iommu_ioas_unmap, iommu_iova_range, IOMMUFD_CMD_DESTROY,
    IOMMUFD_CMD_GET_HW_INFO, IOMMUFD_CMD_HWPT_ALLOC, IOMMUFD_CMD_IOAS_ALLOC, IOMMUFD_CMD_IOAS_IOVA_RANGES,
    IOMMUFD_CMD_IOAS_MAP, IOMMUFD_CMD_IOAS_MAP_FILE, IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA, IOMMUFD_CMD_IOAS_UNMAP,
    IOMMUFD_TYPE, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_READABLE,
    IOMMU_IOAS_MAP_WRITEABLE,
};
use crate::memory::{Rights, UserRange};
use crate::pci::PciFunction;
use crate::vfio::{argsz, open, request, vfio, Device};

/// Readable and writable, at the address that was asked for.
const MAP_FLAGS: u32 = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;

/// An open `/dev/iommu`.
pub struct Iommufd(File);

/// Number of an I/O address space, unique in its [`Iommufd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoasId(pub u32);

/// Number of a hardware page table (a domain of its own behind an I/O address space), unique in its [`Iommufd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HwptId(pub u32);

/// Number of a bound device, unique in its [`Iommufd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId(pub u32);

/// Physical memory behind an address of an I/O address space that no hardware walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub start: Gpa,
    /// How many bytes are contiguous from there on, at most as many as were asked for.
    pub bytes: u64,
}

/// Whether a device can use ATS behind its IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsSupport {
    /// It can.
    Usable,
    /// It cannot.
    NotUsable,
}

impl Iommufd {
    /// Opens `/dev/iommu`: a context without objects.
    ///
    /// # Errors
    /// When the kernel has no iommufd.
    pub fn open() -> Result<Iommufd> {
        Ok(Iommufd(open(Path::new("/dev/iommu"))?))
    }

    /// Issues one request.
    ///
    /// # Safety
    /// `T` must be the structure of `command`, complete with its size, and every address in it must be one that the
    /// command may use as documented.
    unsafe fn command<T>(&self, command: u32, argument: &mut T) -> nix::Result<()> {
        let code = (u64::from(IOMMUFD_TYPE) << 8) | u64::from(command);
        let argument: *mut T = argument;
        // SAFETY: the caller vouches for the structure, which is borrowed exclusively; the descriptor is open.
        Errno::result(unsafe { libc::ioctl(self.0.as_raw_fd(), code as libc::Ioctl, argument) }).map(|_| ())
    }

    /// Makes an empty I/O address space.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn allocate_ioas(&self) -> nix::Result<IoasId> {
        let mut request = iommu_ioas_alloc { size: argsz::<iommu_ioas_alloc>(), ..Default::default() };
        // SAFETY: the command's structure, without addresses.
        unsafe { self.command(IOMMUFD_CMD_IOAS_ALLOC, &mut request) }?;
        Ok(IoasId(request.out_ioas_id))
    }

    /// Makes a domain that `device` could be attached to, with the mappings of an I/O address space.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn allocate_hwpt(&self, device: DeviceId, ioas: IoasId) -> nix::Result<HwptId> {
        let mut request = iommu_hwpt_alloc {
            size: argsz::<iommu_hwpt_alloc>(),
            dev_id: device.0,
            pt_id: ioas.0,
            ..Default::default()
        };
        // SAFETY: the command's structure, without addresses.
        unsafe { self.command(IOMMUFD_CMD_HWPT_ALLOC, &mut request) }?;
        Ok(HwptId(request.out_hwpt_id))
    }

    /// What the kernel says of ATS of a bound device.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn ats_support(&self, device: DeviceId) -> nix::Result<AtsSupport> {
        let mut request = iommu_hw_info { size: argsz::<iommu_hw_info>(), dev_id: device.0, ..Default::default() };
        // SAFETY: the command's structure, without room for more data.
        unsafe { self.command(IOMMUFD_CMD_GET_HW_INFO, &mut request) }?;
        Ok(match request.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED {
            0 => AtsSupport::Usable,
            _ => AtsSupport::NotUsable,
        })
    }

    /// Deletes a domain that no device is attached to.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn destroy_hwpt(&self, hwpt: HwptId) -> nix::Result<()> {
        let mut request = iommu_destroy { size: argsz::<iommu_destroy>(), id: hwpt.0 };
        // SAFETY: the command's structure, without addresses.
        unsafe { self.command(IOMMUFD_CMD_DESTROY, &mut request) }
    }

    /// Maps memory of this process at `iova`, readable and writable.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map(&self, ioas: IoasId, iova: Iova, memory: UserRange) -> nix::Result<()> {
        self.map_for(ioas, iova, memory, Rights::ReadWrite)
    }

    /// The same with the rights that the devices are to have.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map_for(&self, ioas: IoasId, iova: Iova, memory: UserRange, rights: Rights) -> nix::Result<()> {
        let flags = match rights {
            Rights::Read => MAP_FLAGS & !IOMMU_IOAS_MAP_WRITEABLE,
            Rights::ReadWrite => MAP_FLAGS,
            Rights::Write => MAP_FLAGS & !IOMMU_IOAS_MAP_READABLE,
        };
        let mut request = iommu_ioas_map {
            size: argsz::<iommu_ioas_map>(),
            flags,
            ioas_id: ioas.0,
            user_va: memory.address(),
            length: memory.bytes(),
            iova: iova.0,
            ..Default::default()
        };
        // SAFETY: the command's structure; no reference points to memory of a `UserRange`, and the kernel keeps its
        // pages pinned while they are mapped, even if the mapping in this process goes away first.
        unsafe { self.command(IOMMUFD_CMD_IOAS_MAP, &mut request) }
    }

    /// Maps the first `bytes` bytes of a file (a memfd, or a device's memory as a dma-buf) at `iova`.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn map_file(&self, ioas: IoasId, iova: Iova, file: &File, bytes: u64) -> nix::Result<()> {
        let mut request = iommu_ioas_map_file {
            size: argsz::<iommu_ioas_map_file>(),
            flags: MAP_FLAGS,
            ioas_id: ioas.0,
            fd: file.as_raw_fd(),
            length: bytes,
            iova: iova.0,
            ..Default::default()
        };
        // SAFETY: the command's structure, without addresses; the kernel holds on to the file.
        unsafe { self.command(IOMMUFD_CMD_IOAS_MAP_FILE, &mut request) }
    }

    /// Unmaps whole mappings inside a range; returns the number of bytes that went.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn unmap(&self, ioas: IoasId, iova: Iova, bytes: u64) -> nix::Result<u64> {
        let mut request =
            iommu_ioas_unmap { size: argsz::<iommu_ioas_unmap>(), ioas_id: ioas.0, iova: iova.0, length: bytes };
        // SAFETY: the command's structure, without addresses.
        unsafe { self.command(IOMMUFD_CMD_IOAS_UNMAP, &mut request) }?;
        Ok(request.length)
    }

    /// Where the `bytes` bytes at `iova` are, for devices that no IOMMU translates the address for.
    ///
    /// # Errors
    /// The kernel's errno; `EOPNOTSUPP` where an IOMMU does.
    pub fn physical(&self, ioas: IoasId, iova: Iova, bytes: u64) -> nix::Result<Extent> {
        let mut request = iommu_ioas_noiommu_get_pa {
            size: argsz::<iommu_ioas_noiommu_get_pa>(),
            ioas_id: ioas.0,
            iova: iova.0,
            length: bytes,
            ..Default::default()
        };
        // SAFETY: the command's structure, without addresses of this process.
        unsafe { self.command(IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA, &mut request) }?;
        Ok(Extent { start: Gpa(request.out_phys), bytes: request.length })
    }

    /// The ranges of addresses that may be mapped, both ends included: what all attached devices can take.
    ///
    /// # Errors
    /// The kernel's errno; `EMSGSIZE` when there are more than a sane number.
    pub fn iova_ranges(&self, ioas: IoasId) -> nix::Result<Vec<(Iova, Iova)>> {
        let mut ranges = [iommu_iova_range::default(); 32];
        let mut request = iommu_ioas_iova_ranges {
            size: argsz::<iommu_ioas_iova_ranges>(),
            ioas_id: ioas.0,
            num_iovas: ranges.len() as u32,
            allowed_iovas: ranges.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the command's structure; its one address is an array of as many ranges as it says, which the
        // kernel writes before the call returns.
        unsafe { self.command(IOMMUFD_CMD_IOAS_IOVA_RANGES, &mut request) }?;
        let count = (request.num_iovas as usize).min(ranges.len());
        Ok(ranges[..count].iter().map(|range| (Iova(range.start), Iova(range.last))).collect())
    }
}

/// A device's VFIO character device.
pub struct Cdev {
    device: Device,
    bound: OnceLock<DeviceId>,
}

impl Cdev {
    /// The path of the character device of a function that is bound to vfio-pci.
    ///
    /// # Errors
    /// When VFIO has not made one.
    pub fn path(function: &PciFunction) -> Result<PathBuf> {
        let directory = function.file("vfio-dev");
        let mut entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        let Some(entry) = entries.next() else { bail!("{} is empty", directory.display()) };
        Ok(Path::new("/dev/vfio/devices").join(entry?.file_name()))
    }

    /// Opens the character device; it is of no use before it is bound.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open(function: &PciFunction) -> Result<Cdev> {
        Ok(Cdev { device: Device::new(open(&Cdev::path(function)?)?), bound: OnceLock::new() })
    }

    /// Opens the character device of a function that is bound to vfio-pci, and takes the device over for `iommufd`.
    ///
    /// # Errors
    /// When there is none, it cannot be opened, or the kernel refuses.
    pub fn take(function: &PciFunction, iommufd: &Iommufd) -> Result<Cdev> {
        let cdev = Cdev::open(function)?;
        cdev.bind(iommufd).context("binding the device to iommufd")?;
        Ok(cdev)
    }

    /// Takes the device over for `iommufd`; its DMA is blocked from then on, until it is attached.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn bind(&self, iommufd: &Iommufd) -> nix::Result<DeviceId> {
        let mut argument = vfio_device_bind_iommufd {
            argsz: argsz::<vfio_device_bind_iommufd>(),
            iommufd: iommufd.0.as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(self.device.file(), request::DEVICE_BIND_IOMMUFD, &raw mut argument as usize) }?;
        Ok(*self.bound.get_or_init(|| DeviceId(argument.out_devid)))
    }

    /// The number that it was bound under.
    ///
    /// # Errors
    /// When it is not bound.
    pub fn id(&self) -> Result<DeviceId> {
        self.bound.get().copied().context("the device is not bound to an iommufd")
    }

    /// Attaches the bound device to an address space, away from the one that it had.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn attach(&self, ioas: IoasId) -> nix::Result<()> {
        self.attach_to(ioas.0)
    }

    /// Attaches the bound device to a domain, away from the one that it had.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn attach_hwpt(&self, hwpt: HwptId) -> nix::Result<()> {
        self.attach_to(hwpt.0)
    }

    fn attach_to(&self, table: u32) -> nix::Result<()> {
        let mut argument = vfio_device_attach_iommufd_pt {
            argsz: argsz::<vfio_device_attach_iommufd_pt>(),
            pt_id: table,
            ..Default::default()
        };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(self.device.file(), request::DEVICE_ATTACH_IOMMUFD_PT, &raw mut argument as usize) }.map(|_| ())
    }

    /// Takes the device out of its address space: its DMA is blocked.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn detach(&self) -> nix::Result<()> {
        let argument =
            vfio_device_detach_iommufd_pt { argsz: argsz::<vfio_device_detach_iommufd_pt>(), ..Default::default() };
        // SAFETY: the structure is readable and argsz tells its size.
        unsafe { vfio(self.device.file(), request::DEVICE_DETACH_IOMMUFD_PT, &raw const argument as usize) }.map(|_| ())
    }

    /// The device behind it; bound, it has regions.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// An iommufd context with one I/O address space.
pub struct Space {
    /// The context.
    pub iommufd: Iommufd,
    /// The address space.
    pub ioas: IoasId,
}

impl Space {
    /// Makes a context with an empty address space.
    ///
    /// # Errors
    /// When the kernel has no iommufd.
    pub fn new() -> Result<Space> {
        let iommufd = Iommufd::open()?;
        let ioas = iommufd.allocate_ioas().context("allocating an IOAS")?;
        Ok(Space { iommufd, ioas })
    }

    /// Binds and attaches a function that vfio-pci has.
    ///
    /// # Errors
    /// The first step that fails; the kernel's errno is the root of the error.
    pub fn take(&self, function: &PciFunction) -> Result<Cdev> {
        let cdev = Cdev::open(function)?;
        cdev.bind(&self.iommufd).context("binding the device to iommufd")?;
        cdev.attach(self.ioas).context("attaching the device to an IOAS")?;
        Ok(cdev)
    }
}
