// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's names for PCI functions of a guest.
//!
//! For each bus that it creates, `pci-hyperv` registers the upper bits of the logical device id,
//! which it derives from the bus's VMBus instance GUID. The function number is known only when the
//! bus was scanned. [`LogicalDeviceId::of`] puts the two together.

use crate::{
    bindings,
    container_of,
    device,
    error::to_result,
    fmt,
    pci::{
        self,
        present::Present, //
    },
    prelude::*, //
};

/// A logical device id, by which hypercalls name a PCI function.
///
/// Bits 63:62 are 0 (type LOGICAL), bits 31:3 are the bus's prefix, bits 2:0 are the PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalDeviceId(u64);

impl LogicalDeviceId {
    /// The id of a function. The low three bits of its bus's `prefix` must be 0.
    pub const fn new(prefix: u32, devfn: u32) -> LogicalDeviceId {
        // The low three bits of devfn are the function number.
        LogicalDeviceId(prefix as u64 | (devfn & 0x7) as u64)
    }

    /// The id of `pdev`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the function is not behind `pci-hyperv`, or its bus is gone.
    #[inline]
    pub fn of(pdev: &impl Present) -> Result<LogicalDeviceId> {
        // SAFETY: The function is on its bus.
        unsafe { Self::of_function(pdev.function()) }
    }

    /// # Safety
    ///
    /// The function must be on its bus.
    #[inline(never)]
    unsafe fn of_function(pdev: &pci::Device) -> Result<LogicalDeviceId> {
        let dev: &device::Device = pdev.as_ref();
        // SAFETY: A `pci::Device` wraps a `struct pci_dev`, and `dev` is its `struct device`.
        let raw = unsafe { container_of!(dev.as_raw(), bindings::pci_dev, dev) };
        let mut prefix = 0;
        // SAFETY: The caller promises that the function is on its bus, so the bus and its host
        // bridge are there. `prefix` is valid for a write.
        let devfn = unsafe {
            let domain_nr = bindings::pci_domain_nr((*raw).bus);
            to_result(bindings::hv_pci_lookup_dev_id(domain_nr, &mut prefix))?;
            (*raw).devfn
        };
        Ok(LogicalDeviceId::new(prefix, devfn))
    }

    /// The id as hypercalls take it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LogicalDeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_logical_device)]
mod tests {
    use super::*;

    #[test]
    fn function_number_goes_into_the_low_bits() {
        assert_eq!(LogicalDeviceId::new(0x1ee7_6050, 0).as_u64(), 0x1ee7_6050);
        assert_eq!(
            LogicalDeviceId::new(0x1ee7_6050, 0x0f).as_u64(),
            0x1ee7_6057
        );
        assert_eq!(LogicalDeviceId::new(0xffff_fff8, 1).as_u64(), 0xffff_fff9);
    }
}
