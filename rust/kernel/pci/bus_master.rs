// SPDX-License-Identifier: GPL-2.0

//! A function's own permission to do DMA. An IOMMU driver takes it away as a last resort, when the
//! IOMMU does not block the function. Drivers of devices have [`Device::set_master`].
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use super::Device;
use crate::{
    bindings,
    ffi::c_int, //
};

const REGISTER: c_int = bindings::PCI_COMMAND as c_int;
const MASTER: u16 = bindings::PCI_COMMAND_MASTER as u16;

/// Whether a function may be mastering the bus, by its command register. All bits of the register
/// are set when the function is gone.
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

/// Keeps a function from mastering the bus. The function's driver can allow it again at any time.
///
/// Context: process, does not sleep. The changes of the device's translation must be serialised, or
/// the device's lock be held.
pub fn stop(dev: &Device) {
    // SAFETY: The device is valid. The function only writes its command register, and notes that in
    // the `struct pci_dev`.
    unsafe { bindings::pci_clear_master(dev.as_raw()) };
}

/// As [`stop`], but by the command register alone. The bits of `struct pci_dev` stay as they are,
/// because they share words with other bits, which a driver may be writing. [`stop`] corrects them.
///
/// Context: any.
pub fn stop_at_once(dev: &Device) {
    // SAFETY: The device is valid, and every PCI function has the register.
    unsafe { bindings::pci_write_config_word(dev.as_raw(), REGISTER, command(dev) & !MASTER) };
}

/// Reads the command register.
fn command(dev: &Device) -> u16 {
    let mut command = 0;
    // SAFETY: The device is valid, and every PCI function has the register.
    unsafe { bindings::pci_read_config_word(dev.as_raw(), REGISTER, &mut command) };
    command
}
