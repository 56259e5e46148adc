// SPDX-License-Identifier: GPL-2.0
//! Named lists of checks, and how one is run.

mod ats;
mod attack;
mod bench;
mod checks;
mod dma;
mod faults;
mod hostile;
mod hyperv_selftest;
mod kselftest;
mod lifecycle;
mod matrix;
mod mock;
mod negative;
mod nomem;
mod observe;
mod passthrough;
mod power;
mod stress;
mod user_report;

use std::time::Duration;

use anyhow::{bail, Context as _, Result};

use crate::control::Minihv;
use crate::init;
use crate::options::Options;
use crate::pci::{self, PciFunction};
use crate::report::{Outcome, Reporter, Tally};

/// How long the devices may take to show up. Debug kernels in a loaded emulator are slow.
pub const DEVICE_PATIENCE: Duration = Duration::from_secs(60);

/// What a check may use.
pub struct Context<'a> {
    /// What the runner asked for.
    pub options: &'a Options,
    /// The test interface, when minihv is below.
    pub minihv: Option<Minihv>,
    /// Every PCI function, without bridges.
    pub functions: Vec<PciFunction>,
    /// For diagnostic lines.
    pub reporter: &'a mut Reporter,
}

impl Context<'_> {
    /// minihv's test interface.
    ///
    /// # Errors
    /// When something else is below.
    pub fn minihv(&self) -> Result<Minihv> {
        self.minihv.context("this check needs minihv")
    }

    /// The NVMe controllers.
    ///
    /// # Errors
    /// When there is none.
    pub fn nvme(&self) -> Result<Vec<PciFunction>> {
        let found: Vec<PciFunction> = self.functions.iter().filter(|f| f.is_nvme()).cloned().collect();
        if found.is_empty() {
            bail!("the guest has no NVMe controller");
        }
        Ok(found)
    }
}

/// One check: its name in the report, and what it does.
#[derive(Clone, Copy)]
pub struct Check {
    /// Stable name; the runner's expectations use it.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&mut Context<'_>) -> Result<Outcome>,
}

const fn check(name: &'static str, run: fn(&mut Context<'_>) -> Result<Outcome>) -> Check {
    Check { name, run }
}

/// A named list of checks.
pub struct Scenario {
    /// Name, as in `hvtest.scenario=`.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// The checks, in order.
    pub checks: &'static [Check],
}

/// All scenarios, a file for each kind.
pub const SCENARIOS: &[&[Scenario]] = &[
    dma::SCENARIOS,
    faults::SCENARIOS,
    hostile::SCENARIOS,
    negative::SCENARIOS,
    nomem::SCENARIOS,
    power::SCENARIOS,
    passthrough::SCENARIOS,
    stress::SCENARIOS,
    ats::SCENARIOS,
    lifecycle::SCENARIOS,
    kselftest::SCENARIOS,
    hyperv_selftest::SCENARIOS,
    user_report::SCENARIOS,
    observe::SCENARIOS,
    matrix::SCENARIOS,
    mock::SCENARIOS,
    bench::SCENARIOS,
    attack::SCENARIOS,
];

/// Looks a scenario up.
///
/// # Errors
/// When the name is not known.
pub fn find(name: &str) -> Result<&'static Scenario> {
    match SCENARIOS.iter().copied().flatten().find(|s| s.name == name) {
        Some(scenario) => Ok(scenario),
        None => bail!("no scenario {name:?}"),
    }
}

/// Runs a scenario to its end; a failing check does not stop the ones after it.
///
/// # Errors
/// When the machine is not fit to start: a module or a device is missing.
pub fn run(scenario: &Scenario, options: &Options, reporter: &mut Reporter) -> Result<Tally> {
    reporter.plan(scenario.checks.len());
    for module in &options.modules {
        init::modprobe(module)?;
    }
    let functions =
        if scenario.checks.is_empty() { Vec::new() } else { pci::wait_for_devices(options.devices, DEVICE_PATIENCE)? };
    let mut context = Context { options, minihv: Minihv::detect(), functions, reporter };
    for (index, check) in scenario.checks.iter().enumerate() {
        let result = (check.run)(&mut context);
        context.reporter.result(index + 1, check.name, &result);
    }
    Ok(reporter.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for scenario in SCENARIOS.iter().copied().flatten() {
            assert_eq!(SCENARIOS.iter().copied().flatten().filter(|s| s.name == scenario.name).count(), 1);
            for check in scenario.checks {
                assert_eq!(scenario.checks.iter().filter(|c| c.name == check.name).count(), 1, "{}", check.name);
            }
        }
    }
}
