// SPDX-License-Identifier: GPL-2.0

//! Address Translation Services (ATS): a PCI device asks the IOMMU for translations, keeps them,
//! and marks its requests as translated.
//!
//! While ATS is on, an IOMMU lets translated requests through as they are. So an IOMMU driver
//! switches it on only behind a table, and off before that table goes out of force.
//!
//! C header: [`include/linux/pci-ats.h`](srctree/include/linux/pci-ats.h)

#[cfg(CONFIG_PCI_ATS)]
use crate::{
    bindings,
    container_of,
    error::to_result,
    ffi::c_int,
    pci, //
};
use crate::{
    device,
    prelude::*,
    sync::aref::ARef, //
};
#[cfg(CONFIG_PCI_ATS)]
use core::mem;

/// The smallest unit of translation that a device may ask for, as a power of two in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationUnit {
    /// 4 KiB.
    Size4K = 12,
}

/// Control of a device's ATS: one for each device that an IOMMU driver probes, which the driver has
/// from [`probe_device`](super::ops::Driver::probe_device) to `release_device`. Off at first.
///
/// # Invariants
///
/// `dev` is the `struct device` of a PCI function that has the ATS capability and may use it.
pub struct Ats {
    #[allow(dead_code)]
    dev: ARef<device::Device>,
    /// The device's register says off, its `struct pci_dev` still says on.
    #[allow(dead_code)]
    silenced: bool,
}

#[cfg(CONFIG_PCI_ATS)]
impl Ats {
    /// ATS of `dev`; [`None`] when it has none, is not trusted with it, or asks for translations of
    /// addresses that are not page-aligned, which some IOMMUs do not understand.
    pub(super) fn of(dev: &device::Device) -> Option<Ats> {
        let pci: &pci::Device = dev.try_into().ok()?;
        // INVARIANT: Checked below.
        let ats = Ats {
            dev: ARef::from(AsRef::<device::Device>::as_ref(pci)),
            silenced: false,
        };
        let pdev = ats.pdev();
        // SAFETY: `pdev` is valid; the second function reads a register of the capability that the
        // first one has found.
        let usable = unsafe {
            bindings::pci_ats_supported(pdev) && bindings::pci_ats_page_aligned(pdev) != 0
        };
        usable.then_some(ats)
    }

    fn pdev(&self) -> *mut bindings::pci_dev {
        // SAFETY: By the type invariant the device lies in a `struct pci_dev`.
        unsafe { container_of!(self.dev.as_raw(), bindings::pci_dev, dev) }
    }

    /// Whether its `struct pci_dev` says that it is on.
    fn is_marked(&self) -> bool {
        // SAFETY: The device is valid; only the one `Ats` of a device changes the bit.
        unsafe { (*self.pdev()).ats_enabled() != 0 }
    }

    /// Sets the unit of translation. To be called before the driver has probed the device: virtual
    /// functions use the unit of their physical function, which may never switch its own ATS on.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: it is on. [`EINVAL`]: the device does not take the unit.
    pub fn prepare(&mut self, unit: TranslationUnit) -> Result {
        if self.is_marked() {
            return Err(EBUSY);
        }
        // SAFETY: By the type invariant; ATS is off.
        to_result(unsafe { bindings::pci_prepare_ats(self.pdev(), unit as c_int) })
    }

    /// Switches it on; nothing happens when it is on.
    ///
    /// Context: process, with the changes of the device's translation serialised, or with the
    /// device's lock. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: a virtual function whose physical function uses another unit.
    pub fn switch_on(&mut self, unit: TranslationUnit) -> Result {
        if self.silenced {
            self.switch_off();
        } else if self.is_marked() {
            return Ok(());
        }
        // SAFETY: By the type invariant; ATS is off.
        to_result(unsafe { bindings::pci_enable_ats(self.pdev(), unit as c_int) })
    }

    /// Switches it off. Whether the device could use it.
    ///
    /// Context: as for [`Self::switch_on`].
    pub fn switch_off(&mut self) -> bool {
        let was_silenced = mem::take(&mut self.silenced);
        let was_marked = self.is_marked();
        if was_marked {
            // SAFETY: By the type invariant; ATS is on, or its register says off.
            unsafe { bindings::pci_disable_ats(self.pdev()) };
        }
        was_marked && !was_silenced
    }

    /// Whether [`Self::silence`] was the last that was done.
    ///
    /// Context: any.
    pub fn is_silenced(&self) -> bool {
        self.silenced
    }

    /// Keeps the device from using it, by its register alone: the bits of `struct pci_dev` share words
    /// with others, which a driver may be writing. The next [`Self::switch_off`] or
    /// [`Self::switch_on`] puts the bits right. Whether there is anything to be put right.
    ///
    /// Context: any.
    pub fn silence(&mut self) -> bool {
        if self.is_marked() && !self.silenced {
            self.silenced = true;
            let mut control = 0;
            // SAFETY: By the type invariant the device is valid and has the capability. Nobody but the
            // one `Ats` of a device writes the register, except after a reset, which restores it.
            unsafe {
                let register =
                    c_int::from((*self.pdev()).ats_cap) + bindings::PCI_ATS_CTRL as c_int;
                bindings::pci_read_config_word(self.pdev(), register, &mut control);
                bindings::pci_write_config_word(
                    self.pdev(),
                    register,
                    control & !(bindings::PCI_ATS_CTRL_ENABLE as u16),
                );
            }
        }
        self.silenced
    }
}

#[cfg(not(CONFIG_PCI_ATS))]
impl Ats {
    pub(super) fn of(_dev: &device::Device) -> Option<Ats> {
        None
    }

    /// Never called: no device has ATS.
    pub fn prepare(&mut self, _unit: TranslationUnit) -> Result {
        Err(EINVAL)
    }

    /// Never called: no device has ATS.
    pub fn switch_on(&mut self, _unit: TranslationUnit) -> Result {
        Err(EINVAL)
    }

    /// Never called: no device has ATS.
    pub fn switch_off(&mut self) -> bool {
        false
    }

    /// Never called: no device has ATS.
    pub fn silence(&mut self) -> bool {
        false
    }

    /// Never: no device has ATS.
    pub fn is_silenced(&self) -> bool {
        false
    }
}
