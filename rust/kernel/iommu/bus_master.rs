// SPDX-License-Identifier: GPL-2.0

//! The last resort when an IOMMU does not obey: the device itself.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use crate::device;
#[cfg(CONFIG_PCI)]
use crate::{
    bindings,
    container_of,
    pci, //
};

/// Keeps a PCI device from mastering the bus, by its command register. Nothing keeps the device's
/// driver from switching that on again. Does nothing to other devices.
///
/// Context: any.
pub fn stop(_dev: &device::Device) {
    #[cfg(CONFIG_PCI)]
    if let Ok(pci) = <&pci::Device>::try_from(_dev) {
        let dev: &device::Device = pci.as_ref();
        // SAFETY: A `pci::Device` wraps a `struct pci_dev`, in which its `struct device` lies; the
        // function only accesses the device's command register, and notes what it did.
        unsafe { bindings::pci_clear_master(container_of!(dev.as_raw(), bindings::pci_dev, dev)) };
    }
}
