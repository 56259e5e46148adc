// SPDX-License-Identifier: GPL-2.0

//! A function's own permission to do DMA. An IOMMU driver takes it away as a last resort, when the
//! IOMMU does not block the function. Drivers of devices have [`Device::set_master`].
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use super::{
    present::{
        Present,
        PresentDevice, //
    },
    Device, //
};
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
///     bus_master,
///     present::PresentDevice, //
/// };
///
/// /// Stops a function that an IOMMU could not be made to block.
/// fn stop(dev: &PresentDevice) {
///     if bus_master::is_on(dev) {
///         bus_master::stop(dev);
///     }
/// }
/// ```
#[inline]
pub fn is_on(dev: &impl Present) -> bool {
    // SAFETY: The function is on its bus.
    unsafe { command(dev.function()) & MASTER != 0 }
}

/// Keeps a function from mastering the bus. The function's driver can allow it again at any time.
///
/// The note of this is a bit of `struct pci_dev`, which shares its word with other bits. The PCI
/// core and drivers write to that word while they probe, reset and remove the device, mostly with
/// the device's lock held. A caller that holds that lock is safe from these. Against a driver that
/// writes without the lock, as in work that resets the device, nobody is safe: one of the two bits
/// may be lost. So may it be for a caller that only has the translation serialised.
///
/// Context: process, does not sleep. The changes of the device's translation must be serialised, or
/// the device's lock be held.
#[inline]
pub fn stop(dev: &PresentDevice) {
    // SAFETY: The function is on its bus. The call only writes the command register, and notes that
    // in the `struct pci_dev`. Whoever made the `PresentDevice` promised the context.
    unsafe { bindings::pci_clear_master(dev.function().as_raw()) };
}

/// As [`stop`], but by the command register alone. The bits of `struct pci_dev` stay as they are,
/// because they share words with other bits, which a driver may be writing. [`stop`] corrects them.
///
/// Context: any.
#[inline]
pub fn stop_at_once(dev: &impl Present) {
    let dev = dev.function();
    // SAFETY: The function is on its bus, and has the register, as every function does.
    unsafe { bindings::pci_write_config_word(dev.as_raw(), REGISTER, command(dev) & !MASTER) };
}

/// Reads the command register.
///
/// # Safety
///
/// The function must be on its bus.
unsafe fn command(dev: &Device) -> u16 {
    let mut command = 0;
    // SAFETY: The caller promises that the function is on its bus. Every function has the register.
    unsafe { bindings::pci_read_config_word(dev.as_raw(), REGISTER, &mut command) };
    command
}
