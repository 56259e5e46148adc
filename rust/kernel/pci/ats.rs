// SPDX-License-Identifier: GPL-2.0

//! Address Translation Services (ATS): a PCI device asks the IOMMU for translations, keeps them,
//! and marks its requests as translated.
//!
//! While ATS is on, an IOMMU lets translated requests through as they are. So an IOMMU driver
//! switches it on only behind a table, and off before that table goes out of force.
//!
//! C header: [`include/linux/pci-ats.h`](srctree/include/linux/pci-ats.h)

use super::Device;
use crate::{
    bindings,
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::aref::ARef, //
};
use core::mem;

/// The smallest unit of translation that a device may ask for, as a power of two in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationUnit {
    /// 4 KiB.
    Size4K = 12,
}

/// Control of a device's ATS. Off at first.
///
/// It is for the driver of the IOMMU that the device is behind: one for each device, from the time
/// when that driver probes the device until it releases the device.
///
/// # Invariants
///
/// The function has the ATS capability and may use it.
///
/// # Examples
///
/// ```
/// use kernel::pci::{
///     self,
///     ats::{
///         Ats,
///         TranslationUnit, //
///     },
/// };
///
/// /// What an IOMMU's driver does before it has probed a device.
/// fn prepare(dev: &pci::Device) -> Result<Option<Ats>> {
///     let Some(mut ats) = Ats::of(dev) else {
///         return Ok(None);
///     };
///     ats.prepare(TranslationUnit::Size4K)?;
///     Ok(Some(ats))
/// }
/// ```
pub struct Ats {
    dev: ARef<Device>,
    /// The device's register says off, its `struct pci_dev` still says on.
    silenced: bool,
}

impl Ats {
    /// ATS of `dev`; [`None`] when it has none, is not trusted with it, or asks for translations of
    /// addresses that are not page-aligned, which some IOMMUs do not understand.
    ///
    /// Context: any.
    pub fn of(dev: &Device) -> Option<Ats> {
        // SAFETY: The device is valid; the second function reads a register of the capability that
        // the first one has found.
        let usable = unsafe {
            bindings::pci_ats_supported(dev.as_raw())
                && bindings::pci_ats_page_aligned(dev.as_raw()) != 0
        };
        // INVARIANT: The capability was found.
        usable.then(|| Ats {
            dev: dev.into(),
            silenced: false,
        })
    }

    fn pdev(&self) -> *mut bindings::pci_dev {
        self.dev.as_raw()
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

    /// Keeps the device from using it, by its register alone: the bits of `struct pci_dev` share
    /// words with others, which a driver may be writing. The next [`Self::switch_off`] or
    /// [`Self::switch_on`] puts the bits right. Whether there is anything to be put right.
    ///
    /// Context: any.
    pub fn silence(&mut self) -> bool {
        if self.is_marked() && !self.silenced {
            self.silenced = true;
            let mut control = 0;
            // SAFETY: By the type invariant the device is valid and has the capability. Nobody but
            // the one `Ats` of a device writes the register, except after a reset, which restores
            // it.
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
