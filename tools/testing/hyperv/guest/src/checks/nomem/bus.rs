// SPDX-License-Identifier: GPL-2.0
//! A bus with its functions: pci-hyperv takes it, and the kernel finds what is on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};
use nix::errno::Errno;

use super::work::Work;
use crate::check::Context;
use crate::checks::hostile::judge::{account, Account};
use crate::hotplug;
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::{self, write_sysfs, PciFunction};
use crate::vfio::errno;

const DRIVER: &str = "/sys/bus/vmbus/drivers/hv_pci";

/// edu's bus.
pub struct Bus {
    minihv: Minihv,
    /// A function of it, as it was at first: a bus keeps its names.
    function: PciFunction,
    /// How many functions there are.
    count: usize,
    /// The bus's device on VMBus.
    device: PathBuf,
}

impl Bus {
    /// Takes edu's bus.
    ///
    /// # Errors
    /// When edu sits on none.
    pub fn new(context: &Context<'_>) -> Result<Bus> {
        let minihv = context.minihv()?;
        let function = pci::find(pci::EDU)?;
        function.unbind()?;
        // The bus, the root bus's directory, the function's.
        let device = fs::canonicalize(function.file("../..")).context("edu sits on no VMBus device")?;
        ensure!(device.join("channels").exists(), "{} is no VMBus device", device.display());
        let mut bus = Bus { minihv, function, count: 0, device };
        bus.count = bus.functions()?.len();
        Ok(bus)
    }

    fn functions(&self) -> Result<Vec<PciFunction>> {
        hotplug::functions(self.function.bus().context("edu sits on no VMBus device")?)
    }

    fn tell(&self, file: &str) -> Result<()> {
        let name = self.device.file_name().and_then(|name| name.to_str()).context("a device has a name")?;
        write_sysfs(&Path::new(DRIVER).join(file), name)
    }

    fn is_taken(&self) -> bool {
        self.device.join("driver").exists()
    }
}

impl Work for Bus {
    /// The kernel lets go of it.
    fn prepare(&mut self) -> Result<()> {
        if self.is_taken() {
            self.tell("unbind")?;
        }
        ensure!(self.functions()?.is_empty(), "functions of a bus that nobody has");
        Ok(())
    }

    fn act(&mut self) -> Result<()> {
        self.tell("bind")?;
        let functions = self.functions()?;
        ensure!(functions.len() == self.count, "{} of {} functions are there", functions.len(), self.count);
        for function in &functions {
            let id = function.logical_id().context("the function has no logical id")?;
            match self.minihv.device_translation(id)? {
                DeviceTranslation::Stage1(_) => {}
                place => bail!("{} is {place:?}", function.address),
            }
        }
        Ok(())
    }

    /// The kernel need not say so of a function that it cannot protect, as long as that function is blocked.
    fn is_no_memory(&self, error: &anyhow::Error) -> bool {
        errno(error) == Some(Errno::ENOMEM) || self.is_taken()
    }

    /// No function does DMA past the IOMMU.
    fn judge(&mut self, minihv: Minihv, lines: &[String]) -> Result<()> {
        for function in self.functions()? {
            match account(minihv, &function, lines)? {
                Account::Translated | Account::Blocked => {}
                other => bail!("{} is {other:?}; the lines are {lines:?}", function.address),
            }
        }
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        self.prepare()?;
        self.act()
    }
}
