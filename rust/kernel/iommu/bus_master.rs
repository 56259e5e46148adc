// SPDX-License-Identifier: GPL-2.0

//! Whether a device may do DMA as far as it is up to the device, and the last resort when an IOMMU does
//! not obey.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use crate::device;
#[cfg(CONFIG_PCI)]
use crate::{
    bindings,
    container_of,
    ffi::c_int,
    pci, //
};

#[cfg(CONFIG_PCI)]
const REGISTER: c_int = bindings::PCI_COMMAND as c_int;
#[cfg(CONFIG_PCI)]
const MASTER: u16 = bindings::PCI_COMMAND_MASTER as u16;

/// Whether a device may be mastering the bus, as its command register has it. Of devices that are not
/// PCI's nothing is known: they may.
///
/// Context: any.
pub fn is_on(_dev: &device::Device) -> bool {
    #[cfg(CONFIG_PCI)]
    if let Some((_, command)) = command(_dev) {
        return command & MASTER != 0;
    }
    true
}

/// Keeps a PCI device from mastering the bus. Nothing keeps the device's driver from switching that on
/// again. Does nothing to other devices.
///
/// Context: process, with the changes of the device's translation serialised, or with the device's
/// lock. Does not sleep.
pub fn stop(_dev: &device::Device) {
    #[cfg(CONFIG_PCI)]
    if let Some(pdev) = pdev(_dev) {
        // SAFETY: The device is valid; the function only accesses its command register, and notes what
        // it did.
        unsafe { bindings::pci_clear_master(pdev) };
    }
}

/// As [`stop`], by the command register alone: the bits of `struct pci_dev` share words with others,
/// which a driver may be writing. [`stop`] puts the bits right.
///
/// Context: any.
pub fn stop_at_once(_dev: &device::Device) {
    #[cfg(CONFIG_PCI)]
    if let Some((pdev, command)) = command(_dev) {
        // SAFETY: The device is valid, and every PCI device has the register.
        unsafe { bindings::pci_write_config_word(pdev, REGISTER, command & !MASTER) };
    }
}

/// The PCI device that a device is, and its command register: all ones once the device is gone.
#[cfg(CONFIG_PCI)]
fn command(dev: &device::Device) -> Option<(*mut bindings::pci_dev, u16)> {
    let pdev = pdev(dev)?;
    let mut command = 0;
    // SAFETY: The device is valid, and every PCI device has the register.
    unsafe { bindings::pci_read_config_word(pdev, REGISTER, &mut command) };
    Some((pdev, command))
}

#[cfg(CONFIG_PCI)]
fn pdev(dev: &device::Device) -> Option<*mut bindings::pci_dev> {
    let pci = <&pci::Device>::try_from(dev).ok()?;
    let dev: &device::Device = pci.as_ref();
    // SAFETY: A `pci::Device` wraps a `struct pci_dev`, in which its `struct device` lies.
    Some(unsafe { container_of!(dev.as_raw(), bindings::pci_dev, dev) })
}
