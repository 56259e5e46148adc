// SPDX-License-Identifier: GPL-2.0
//! The module of tools/testing/hyperv/bench: loading it, giving it the device, and having it measure.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::figure::Figure;
use crate::pci::{self, PciFunction};
use crate::{modules, report};

/// Where the runner packs it.
const FILE: &str = "/bench/iommu_bench.ko";
/// Its file in debugfs.
const CONTROL: &str = "/sys/kernel/debug/iommu_bench";
/// The kernel has done by then what it does late in a boot, such as settling on a clock. An idle machine is quick where
/// clocks run on instructions: they jump.
const LATE_BOOT: Duration = Duration::from_secs(3);
/// The console has written its backlog by then.
const BACKLOG: Duration = Duration::from_millis(300);

/// Who uses the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The DMA API, in the domain that the kernel made for the device.
    DmaApi,
    /// The module, in domains that it makes.
    Owner,
}

impl Binding {
    fn driver(self) -> &'static str {
        match self {
            Binding::DmaApi => "iommu_bench",
            Binding::Owner => "iommu_bench_owner",
        }
    }
}

/// The module with edu in its hands; given back when this is dropped.
pub struct Module {
    function: PciFunction,
}

impl Module {
    /// Loads the module, unless it is there, gives edu to it, and waits until the machine is at rest.
    ///
    /// # Errors
    /// When it was not packed, does not fit this kernel, or does not get the device.
    pub fn bind(binding: Binding) -> Result<Module> {
        if !Path::new(CONTROL).exists() {
            modules::insmod(FILE, &[])?;
            std::thread::sleep(LATE_BOOT);
        }
        let function = pci::find(pci::EDU)?;
        function.bind(binding.driver())?;
        std::thread::sleep(BACKLOG);
        Ok(Module { function })
    }

    /// Runs a command and returns what it measured.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn run(&self, command: &str) -> Result<Vec<Figure>> {
        fs::write(CONTROL, command).with_context(|| format!("iommu_bench: {command}"))?;
        let results = fs::read_to_string(CONTROL).context(CONTROL)?;
        results.lines().map(str::parse).collect()
    }

    /// Runs commands, one after the other, and prints what they measured when all are done: the console is busy for
    /// some time with each line, on whatever processor. Returns the number of figures.
    ///
    /// # Errors
    /// The first one's that fails.
    pub fn report<C: AsRef<str>>(
        &self,
        reporter: &mut report::Reporter,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<usize> {
        let mut figures = Vec::new();
        for command in commands {
            figures.extend(self.run(command.as_ref())?);
        }
        figures.iter().for_each(|figure| reporter.figure(figure));
        Ok(figures.len())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // The next user says what is wrong if this fails.
        let _ = self.function.unbind();
    }
}
