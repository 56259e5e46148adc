// SPDX-License-Identifier: GPL-2.0
//! The USB device behind a host controller that the kernel has.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{ensure, Context as _, Result};

use crate::pci::PciFunction;

/// `struct usbdevfs_ctrltransfer`.
#[repr(C)]
pub struct ControlTransfer {
    request_type: u8,
    request: u8,
    value: u16,
    index: u16,
    length: u16,
    milliseconds: u32,
    data: *mut u8,
}

nix::ioctl_readwrite!(control_transfer, b'U', 0, ControlTransfer);

/// Long, as nothing depends on it: a transfer that takes that long has failed.
const MILLISECONDS: u32 = 20_000;

/// A device that can be asked something.
pub struct UsbDevice(File);

impl UsbDevice {
    /// Finds the first device behind a controller.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn behind(controller: &PciFunction) -> Result<UsbDevice> {
        for bus in fs::read_dir(controller.file(""))?.flatten().filter(|entry| entry.path().join("busnum").exists()) {
            let is_device = |path: &Path| path.join("devnum").exists();
            let devices = fs::read_dir(bus.path())?.flatten().map(|entry| entry.path());
            if let Some(device) = devices.into_iter().find(|path| is_device(path)) {
                return UsbDevice::open(&device);
            }
        }
        None.with_context(|| format!("no USB device behind {}", controller.address))
    }

    fn open(directory: &Path) -> Result<UsbDevice> {
        let number = |file: &str| -> Result<u32> { Ok(fs::read_to_string(directory.join(file))?.trim().parse()?) };
        let path = format!("/dev/bus/usb/{:03}/{:03}", number("busnum")?, number("devnum")?);
        Ok(UsbDevice(OpenOptions::new().read(true).write(true).open(&path).context(path)?))
    }

    /// Asks it for its status, which takes one transfer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<u16> {
        const FROM_DEVICE: u8 = 0x80;
        const GET_STATUS: u8 = 0;
        let mut status = [0; 2];
        let mut transfer = ControlTransfer {
            request_type: FROM_DEVICE,
            request: GET_STATUS,
            value: 0,
            index: 0,
            length: 2,
            milliseconds: MILLISECONDS,
            data: status.as_mut_ptr(),
        };
        // SAFETY: the structure is the request's, and its address that of as many writable bytes as it says.
        let count = unsafe { control_transfer(self.0.as_raw_fd(), &raw mut transfer) }.context("GET_STATUS")?;
        ensure!(count == 2, "GET_STATUS brought {count} bytes");
        Ok(u16::from_le_bytes(status))
    }
}
