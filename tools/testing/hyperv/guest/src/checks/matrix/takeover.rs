// SPDX-License-Identifier: GPL-2.0
//! A program takes the device over and closes it again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{DomainId, LogicalDeviceId};

use super::cells::{Operation, Place};
use super::drive::{Attention, Drive, Seen};
use crate::check::Context;
use crate::iommufd::{Cdev, Space};
use crate::minihv::{DeviceTranslation, Injection, Minihv};
use crate::pci::{self, PciFunction};
use crate::session::{BackEnd, UnsafeInterrupts};

/// The COMMAND register in configuration space, and bits of it.
const COMMAND: u64 = 4;
const MASTER: u8 = 1 << 2;
const MEMORY_AND_MASTER: u8 = MASTER | 1 << 1;

/// edu, which vfio-pci has and nobody has open.
pub struct Takeover {
    function: PciFunction,
    minihv: Minihv,
    id: LogicalDeviceId,
    default: DomainId,
}

impl Takeover {
    /// Gives edu to vfio-pci.
    pub fn open(context: &Context<'_>) -> Result<Takeover> {
        let minihv = context.minihv()?;
        let function = pci::find(pci::EDU)?;
        let id = function.logical_id().context("edu has no logical id")?;
        BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
        function.bind("vfio-pci")?;
        let default = minihv.device_domain(id)?.context("edu is in no domain")?;
        Ok(Takeover { function, minihv, id, default })
    }

    fn place(&self) -> Result<Place> {
        Ok(match (self.minihv.device_translation(self.id)?, self.minihv.device_domain(self.id)?) {
            (DeviceTranslation::Blocked, _) => Place::Blocked,
            (DeviceTranslation::Bypass, _) => Place::Untranslated,
            (_, Some(domain)) if domain == self.default => Place::Before,
            _ => Place::Another,
        })
    }

    fn config(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(self.function.file("config")).context("config")
    }

    /// Lets the device do DMA, as far as its own switch is concerned.
    fn enable_bus_master(&self) -> Result<()> {
        self.config()?.write_all_at(&[MEMORY_AND_MASTER], COMMAND).context("writing COMMAND")
    }

    fn is_bus_master(&self) -> Result<bool> {
        let mut command = [0];
        self.config()?.read_exact_at(&mut command, COMMAND).context("reading COMMAND")?;
        Ok(command[0] & MASTER != 0)
    }

    /// The device can be neither attached to the blocking domain nor, in one round, detached.
    fn take(&self) -> Result<Seen> {
        self.enable_bus_master()?;
        let (space, cdev) = (Space::new()?, Cdev::open(&self.function)?);
        self.minihv.inject(Injection::next(CallCode::ATTACH_DEVICE_DOMAIN))?;
        let errno = cdev.bind(&space.iommufd).err();
        let place = self.place()?;
        if place != Place::Blocked && self.is_bus_master()? {
            bail!("the device is not blocked, and was left on the bus");
        }
        Ok(Seen { errno, place })
    }

    /// The device cannot be put back into its default domain.
    fn give_back(&self) -> Result<Seen> {
        let (space, cdev) = (Space::new()?, Cdev::open(&self.function)?);
        cdev.bind(&space.iommufd).context("binding the device to iommufd")?;
        drop((cdev, space));
        Ok(Seen { errno: None, place: self.place()? })
    }
}

impl Drive for Takeover {
    fn round(&mut self, operation: Operation, _: Attention) -> Result<Seen> {
        match operation {
            Operation::Detach => self.take(),
            Operation::Return => self.give_back(),
            _ => bail!("{operation:?} is no operation of a program that takes the device over"),
        }
    }

    fn free_number(&mut self) -> Result<DomainId> {
        let (space, cdev) = (Space::new()?, Cdev::open(&self.function)?);
        cdev.bind(&space.iommufd).context("binding after the cell")?;
        cdev.attach(space.ioas).context("attaching after the cell")?;
        let number = self.minihv.device_domain(self.id)?.context("edu is in no domain")?;
        drop((cdev, space));
        match self.place()? {
            Place::Before => Ok(number),
            place => bail!("after the cell, closed, the device is {place:?}"),
        }
    }
}
