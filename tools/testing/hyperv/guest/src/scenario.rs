// SPDX-License-Identifier: GPL-2.0
//! All scenarios, and how one is run.

use anyhow::{bail, Result};

use crate::check::{Context, Scenario, SCENARIOS};
use crate::minihv::Minihv;
use crate::modules;
use crate::pci;
use crate::report::{Reporter, Tally};
use hvprotocol::options::Options;

/// All scenarios, by name.
pub fn all() -> Vec<&'static Scenario> {
    let mut all: Vec<&Scenario> = SCENARIOS.iter().copied().flatten().collect();
    all.sort_by_key(|scenario| scenario.name);
    all
}

/// Looks a scenario up.
///
/// # Errors
/// When the name is not known.
pub fn find(name: &str) -> Result<&'static Scenario> {
    match all().into_iter().find(|scenario| scenario.name == name) {
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
        modules::modprobe(module)?;
    }
    let functions = if scenario.checks.is_empty() { Vec::new() } else { pci::wait_for_devices(options.devices)? };
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
        let all = all();
        for scenario in &all {
            assert_eq!(all.iter().filter(|s| s.name == scenario.name).count(), 1, "{}", scenario.name);
            for check in scenario.checks {
                assert_eq!(scenario.checks.iter().filter(|c| c.name == check.name).count(), 1, "{}", check.name);
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert!(find("dma").is_ok() && find("dm").is_err());
    }
}
