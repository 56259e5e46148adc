// SPDX-License-Identifier: GPL-2.0
//! One device in an I/O address space of its own, by either of the interfaces that the kernel has for user space.

use std::path::Path;

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;

use crate::iommufd::{self, Cdev};
use crate::memory::{DmaBuffer, Rights, UserRange, PAGE};
use crate::mmio::MappedBar;
use crate::pci::{write_sysfs, PciFunction};
use crate::type1;
use crate::vfio::Device;

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
