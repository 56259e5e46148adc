// SPDX-License-Identifier: GPL-2.0

//! Whether a function may do DMA as far as it is up to the function, and the last resort when an
//! IOMMU does not obey. For drivers of IOMMUs; drivers of devices have [`Device::set_master`].
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use super::Device;
use crate::{
    bindings,
    ffi::c_int, //
};

const REGISTER: c_int = bindings::PCI_COMMAND as c_int;
const MASTER: u16 = bindings::PCI_COMMAND_MASTER as u16;

/// Whether a function may be mastering the bus, as its command register has it. Of one that is gone
/// the register has all bits set.
///
/// Context: any.
///
/// # Examples
///
/// ```
/// use kernel::pci::{
///     self,
///     bus_master, //
/// };
///
/// /// Stops a function that an IOMMU could not be made to block.
/// fn stop(dev: &pci::Device) {
///     if bus_master::is_on(dev) {
///         bus_master::stop(dev);
///     }
/// }
/// ```
pub fn is_on(dev: &Device) -> bool {
    command(dev) & MASTER != 0
}

/// Keeps a function from mastering the bus. Nothing keeps the function's driver from switching that
/// on again.
///
/// Context: process, with the changes of the device's translation serialised, or with the device's
/// lock. Does not sleep.
pub fn stop(dev: &Device) {
    // SAFETY: The device is valid; the function only accesses its command register, and notes what
    // it did.
    unsafe { bindings::pci_clear_master(dev.as_raw()) };
}

/// As [`stop`], by the command register alone: the bits of `struct pci_dev` share words with
/// others, which a driver may be writing. [`stop`] puts the bits right.
///
/// Context: any.
pub fn stop_at_once(dev: &Device) {
    // SAFETY: The device is valid, and every PCI function has the register.
    unsafe { bindings::pci_write_config_word(dev.as_raw(), REGISTER, command(dev) & !MASTER) };
}

/// The command register.
fn command(dev: &Device) -> u16 {
    let mut command = 0;
    // SAFETY: The device is valid, and every PCI function has the register.
    unsafe { bindings::pci_read_config_word(dev.as_raw(), REGISTER, &mut command) };
    command
}
