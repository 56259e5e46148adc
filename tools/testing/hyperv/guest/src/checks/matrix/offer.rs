// SPDX-License-Identifier: GPL-2.0
//! The host withdraws the device and offers it again: the kernel asks about it and makes its default domain.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{BusIndex, DomainId, LogicalDeviceId};

use super::cells::{Operation, Place};
use super::drive::{Attention, Drive, Seen};
use crate::check::Context;
use crate::hotplug;
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci;

/// edu, offered or not.
pub struct Offer {
    minihv: Minihv,
    bus: BusIndex,
    id: LogicalDeviceId,
}

impl Offer {
    /// Finds edu.
    pub fn open(context: &Context<'_>) -> Result<Offer> {
        let function = pci::find(pci::EDU)?;
        let bus = function.bus().context("edu is on no bus")?;
        let id = function.logical_id().context("edu has no logical id")?;
        Ok(Offer { minihv: context.minihv()?, bus, id })
    }

    fn withdraw(&self) -> Result<()> {
        match hotplug::functions(self.bus)?.first() {
            // In order, so that nothing is lost on the way: pci-hyperv does not free what it has of a function whose bus
            // goes first.
            Some(function) => {
                hotplug::eject(self.minihv, function)?;
                // It is out of sysfs before the IOMMU core is done with it.
                hotplug::wait_until("the guest gives edu back", || {
                    let nowhere = self.minihv.device_domain(self.id)?.is_none();
                    Ok(nowhere && self.place()? == Place::Blocked)
                })?;
                self.minihv.rescind(self.bus)
            }
            None => Ok(()),
        }
    }

    /// Offers the device, and says what the kernel has made of it.
    fn offer(&self, operation: Operation) -> Result<Place> {
        let calls = |this: &Offer| this.minihv.calls(Operation::Property.call());
        let asked = calls(self)?;
        let back = hotplug::offer(self.minihv, self.bus, 1)?;
        if calls(self)? == asked {
            bail!("the kernel has not asked about edu");
        }
        let place = self.place()?;
        let grouped = back.first().context("edu")?.group().is_some();
        match (place, grouped) {
            // That it was attached is what the hypervisor said.
            (Place::Untranslated, true) if operation == Operation::ProbeAttach => Ok(place),
            (Place::Blocked | Place::Untranslated, true) => bail!("edu is {place:?} and in a group"),
            (Place::Before | Place::Another, false) => bail!("edu is {place:?} and in no group"),
            _ => Ok(place),
        }
    }

    fn place(&self) -> Result<Place> {
        Ok(match self.minihv.device_translation(self.id)? {
            DeviceTranslation::Blocked => Place::Blocked,
            DeviceTranslation::Bypass => Place::Untranslated,
            DeviceTranslation::Stage1(_) => Place::Before,
        })
    }
}

impl Drive for Offer {
    fn begin(&mut self) -> Result<()> {
        self.withdraw()
    }

    fn round(&mut self, operation: Operation, _: Attention) -> Result<Seen> {
        let place = self.offer(operation)?;
        self.withdraw()?;
        Ok(Seen { errno: None, place })
    }

    fn free_number(&mut self) -> Result<DomainId> {
        match self.offer(Operation::Property)? {
            Place::Before => self.minihv.device_domain(self.id)?.context("edu is in no domain"),
            place => bail!("after the cell, the device is {place:?}"),
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // A cell that failed may have left the host without the device; later checks want it.
        if self.minihv.clear_injections().is_ok() && hotplug::functions(self.bus).is_ok_and(|found| found.is_empty()) {
            let _ = hotplug::offer(self.minihv, self.bus, 1);
        }
    }
}
