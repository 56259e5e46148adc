// SPDX-License-Identifier: GPL-2.0

//! Address Translation Services (ATS): a PCI device asks the IOMMU for translations, keeps them,
//! and marks its requests as translated.
//!
//! While ATS is on, an IOMMU lets translated requests through without a check. So an IOMMU driver
//! switches ATS on only while a table translates the device's DMA, and switches it off before that
//! table stops doing so.
//!
//! C header: [`include/linux/pci-ats.h`](srctree/include/linux/pci-ats.h)

use super::present::{
    Present,
    PresentDevice, //
};
use crate::{
    bindings,
    error::to_result,
    ffi::c_int,
    prelude::*, //
};
use core::mem;

/// The smallest unit of translation that a device may ask for, as a power of two in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationUnit {
    /// 4 KiB.
    Size4K = 12,
}

/// Control of a device's ATS, which is off at first.
///
/// This is for the driver of the IOMMU that the device is behind. It makes one for each device when
/// it probes the device, and drops it before it has released the device.
///
/// # Invariants
///
/// The function has the ATS capability, and the kernel lets it use that. There is no other `Ats` of
/// the function.
///
/// # Examples
///
/// ```
/// use kernel::pci::{
///     ats::{
///         Ats,
///         TranslationUnit, //
///     },
///     present::PresentDevice, //
/// };
///
/// /// What an IOMMU's driver does before it has probed a device.
/// fn prepare(dev: &PresentDevice) -> Result<Option<Ats>> {
///     let Some(mut ats) = Ats::of(dev) else {
///         return Ok(None);
///     };
///     ats.prepare(TranslationUnit::Size4K)?;
///     Ok(Some(ats))
/// }
/// ```
pub struct Ats {
    dev: PresentDevice,
    /// The device's register says that ATS is off, but its `struct pci_dev` still says that it is
    /// on.
    silenced: bool,
    /// The device's register may say that ATS is on, but its `struct pci_dev` says that it is off:
    /// another kernel has switched it on.
    inherited: bool,
}

impl Ats {
    /// ATS of `dev`. [`None`] if `dev` has none or is not trusted with it, or if it asks for
    /// translations of addresses that are not page-aligned, which some IOMMUs do not understand.
    ///
    /// Context: any.
    pub fn of(dev: &PresentDevice) -> Option<Ats> {
        let function = dev.function();
        // SAFETY: The function is on its bus. The second call reads a register of the capability
        // that the first one has found.
        let usable = unsafe {
            bindings::pci_ats_supported(function.as_raw())
                && bindings::pci_ats_page_aligned(function.as_raw()) != 0
        };
        // INVARIANT: `pci_ats_supported` has found the capability, and lets the function use it.
        // Whoever made the `PresentDevice` promised that there is no other `Ats` of the function.
        usable.then(|| Ats {
            dev: dev.clone(),
            silenced: false,
            inherited: false,
        })
    }

    /// Leaves ATS as a kernel before this one has left it, until one of the functions below changes
    /// it. This is for a kernel that runs after a crash, in place of [`Self::prepare`], which would
    /// switch it off.
    ///
    /// Context: any.
    pub fn inherit(&mut self) {
        self.inherited = true;
    }

    fn pdev(&self) -> *mut bindings::pci_dev {
        self.dev.function().as_raw()
    }

    /// Whether the device's `struct pci_dev` says that ATS is on.
    fn is_marked(&self) -> bool {
        // SAFETY: The device is valid. By the type invariant, nobody else changes the bit.
        unsafe { (*self.pdev()).ats_enabled() != 0 }
    }

    /// Sets the unit of translation. An IOMMU driver calls this while it probes the device, because
    /// virtual functions use the unit of their physical function, whose own ATS may never be
    /// switched on.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: ATS is on. [`EINVAL`]: the device does not support the unit.
    pub fn prepare(&mut self, unit: TranslationUnit) -> Result {
        if self.is_marked() {
            return Err(EBUSY);
        }
        // SAFETY: By the type invariant, the device has the capability. ATS is off.
        to_result(unsafe { bindings::pci_prepare_ats(self.pdev(), unit as c_int) })
    }

    /// Switches ATS on. Does nothing if it is on.
    ///
    /// Context: process, does not sleep. The changes of the device's translation must be
    /// serialised, or the device's lock be held.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: the device is a virtual function, whose physical function uses another unit.
    pub fn switch_on(&mut self, unit: TranslationUnit) -> Result {
        if self.silenced {
            self.switch_off();
        } else if self.is_marked() {
            return Ok(());
        }
        // SAFETY: By the type invariant, the device has the capability. Its `struct pci_dev` says
        // that ATS is off, as the function expects.
        to_result(unsafe { bindings::pci_enable_ats(self.pdev(), unit as c_int) })?;
        self.inherited = false;
        Ok(())
    }

    /// Switches ATS off. Returns whether the device could use it before.
    ///
    /// Context: as for [`Self::switch_on`].
    pub fn switch_off(&mut self) -> bool {
        if mem::take(&mut self.inherited) {
            return self.clear_enable();
        }
        let was_silenced = mem::take(&mut self.silenced);
        let was_marked = self.is_marked();
        if was_marked {
            // SAFETY: By the type invariant, the device has the capability. Its `struct pci_dev`
            // says that ATS is on, as the function expects.
            unsafe { bindings::pci_disable_ats(self.pdev()) };
        }
        was_marked && !was_silenced
    }

    /// Whether [`Self::silence`] was called last.
    ///
    /// Context: any.
    pub fn is_silenced(&self) -> bool {
        self.silenced
    }

    /// Keeps the device from using ATS, by the device's register alone. The bits of
    /// `struct pci_dev` stay as they are, because they share words with other bits, which a driver
    /// may be writing. The next [`Self::switch_off`] or [`Self::switch_on`] corrects them. Returns
    /// whether they need that.
    ///
    /// Context: any.
    pub fn silence(&mut self) -> bool {
        if mem::take(&mut self.inherited) {
            self.clear_enable();
        } else if self.is_marked() && !self.silenced {
            self.silenced = true;
            self.clear_enable();
        }
        self.silenced
    }

    /// Clears the enable bit of the device's register. Returns whether it was set.
    ///
    /// Context: any.
    fn clear_enable(&mut self) -> bool {
        const ENABLE: u16 = bindings::PCI_ATS_CTRL_ENABLE as u16;
        let mut control = 0;
        // SAFETY: By the type invariant, the device is valid and has the capability, and nobody
        // else writes the register. Only a reset does, too, and that restores the register.
        unsafe {
            let register = c_int::from((*self.pdev()).ats_cap) + bindings::PCI_ATS_CTRL as c_int;
            bindings::pci_read_config_word(self.pdev(), register, &mut control);
            bindings::pci_write_config_word(self.pdev(), register, control & !ENABLE);
        }
        control & ENABLE != 0
    }
}
