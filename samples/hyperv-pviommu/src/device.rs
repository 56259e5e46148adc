// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A PCI device in the hands of this program, through its VFIO character device.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, Context, Result};
use vfio_bindings::bindings::vfio::{
    vfio_device_attach_iommufd_pt, vfio_device_bind_iommufd, vfio_region_info, VFIO_BASE,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_TYPE,
};
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::ioctl_io_nr;

use crate::space::size;
use crate::{Registers, Space};

ioctl_io_nr!(VFIO_DEVICE_GET_REGION_INFO, VFIO_TYPE as u32, VFIO_BASE + 8);
ioctl_io_nr!(VFIO_DEVICE_BIND_IOMMUFD, VFIO_TYPE as u32, VFIO_BASE + 18);
ioctl_io_nr!(
    VFIO_DEVICE_ATTACH_IOMMUFD_PT,
    VFIO_TYPE as u32,
    VFIO_BASE + 19
);

/// An open device, attached to an I/O address space.
pub struct Device {
    file: File,
}

/// The character device that VFIO made for the function at a PCI address.
fn character_device(address: &str) -> Result<PathBuf> {
    let function = Path::new("/sys/bus/pci/devices").join(address);
    if !function.is_dir() {
        return Err(anyhow!(
            "there is no PCI device {address}; `lspci -D` lists them"
        ));
    }
    let named = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.file_name());
    let name = fs::read_dir(function.join("vfio-dev"))
        .ok()
        .and_then(|mut d| d.find_map(named));
    let name = name.with_context(|| {
        format!(
            "{address} is not bound to vfio-pci, which takes: \
             echo vfio-pci > {0}/driver_override; echo {address} > {0}/driver/unbind; \
             echo {address} > /sys/bus/pci/drivers_probe",
            function.display()
        )
    })?;
    Ok(Path::new("/dev/vfio/devices").join(name))
}

/// What may help when the kernel does not hand out the device.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "either another device of its IOMMU group is in use, or its interrupts are not isolated \
             from those of other devices: then it takes \
             /sys/module/iommufd/parameters/allow_unsafe_interrupts to have it"
        }
        Some(libc::EBUSY) => "its IOMMU group is open through /dev/vfio/GROUP",
        Some(libc::EINVAL) => "it is in use",
        _ => "see the kernel's log",
    }
}

impl Device {
    /// Takes the device at a PCI address (`dddd:bb:dd.f`), which must be bound to vfio-pci, attaches
    /// it to `space`, and lets it do DMA.
    ///
    /// Nobody else has the device until this value is dropped; its DMA is blocked then.
    ///
    /// # Errors
    /// When the device is not ready, or the kernel refuses; the message says what to do.
    pub fn open(address: &str, space: &Space) -> Result<Device> {
        let path = character_device(address)?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let device = Device {
            file: file.with_context(|| path.display().to_string())?,
        };

        let mut bind = vfio_device_bind_iommufd {
            argsz: size::<vfio_device_bind_iommufd>(),
            iommufd: space.descriptor(),
            ..Default::default()
        };
        device
            .request(VFIO_DEVICE_BIND_IOMMUFD(), &mut bind)
            .map_err(|e| anyhow!("{address} is refused: {e}; {}", hint(&e)))?;

        let mut attach = vfio_device_attach_iommufd_pt {
            argsz: size::<vfio_device_attach_iommufd_pt>(),
            pt_id: space.id(),
            ..Default::default()
        };
        device
            .request(VFIO_DEVICE_ATTACH_IOMMUFD_PT(), &mut attach)
            .with_context(|| format!("attaching {address} to an I/O address space"))?;
        device.enable()?;
        Ok(device)
    }

    /// Issues a request whose structure starts with its size, as VFIO's do.
    fn request<T>(&self, code: libc::c_ulong, argument: &mut T) -> io::Result<()> {
        // SAFETY: each caller passes the structure of its request, of plain numbers, which is
        // borrowed exclusively; the kernel writes no more than the size in it.
        match unsafe { ioctl_with_mut_ref(&self.file, code, argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn region(&self, index: u32) -> Result<vfio_region_info> {
        let mut info = vfio_region_info {
            argsz: size::<vfio_region_info>(),
            index,
            ..Default::default()
        };
        self.request(VFIO_DEVICE_GET_REGION_INFO(), &mut info)
            .context("reading a region's place")?;
        Ok(info)
    }

    /// Switches memory decoding and bus mastering on.
    fn enable(&self) -> Result<()> {
        const COMMAND: u64 = 4;
        const MEMORY_AND_MASTER: u8 = 6;
        let command = self.region(VFIO_PCI_CONFIG_REGION_INDEX)?.offset + COMMAND;
        let mut value = [0; 2];
        self.file
            .read_exact_at(&mut value, command)
            .context("reading COMMAND")?;
        value[0] |= MEMORY_AND_MASTER;
        self.file
            .write_all_at(&value, command)
            .context("writing COMMAND")
    }

    /// Maps the whole of BAR 0.
    ///
    /// # Errors
    /// When the device has none, or the kernel refuses.
    pub fn map_bar0(&self) -> Result<Registers> {
        let info = self.region(VFIO_PCI_BAR0_REGION_INDEX)?;
        Registers::map(&self.file, info.offset, usize::try_from(info.size)?)
    }
}
