// SPDX-License-Identifier: GPL-2.0
//! The commands for use from a shell in the guest.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use hvcore::test_interface::Counter;

use crate::minihv::{Minihv, IOMMU_CALLS};
use crate::report::Reporter;
use crate::{init, pci, scenario};

/// Checks of DMA translation and protection, from inside the guest.
#[derive(Parser)]
#[command(name = "hvguest", version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a scenario's checks now; `list` shows the names.
    Run {
        /// The scenario.
        scenario: String,
    },
    /// List the scenarios and their checks.
    List,
    /// Show the PCI functions, their IOMMU groups and how minihv translates their DMA.
    Devices,
    /// Show what minihv counted.
    Counters,
    /// Show and drop the DMA faults that minihv has recorded.
    Faults,
}

const COUNTERS: [(Counter, &str); 9] = [
    (Counter::FlushDescriptors, "flush descriptors"),
    (Counter::FlushPages, "pages flushed by list"),
    (Counter::DmaFaults, "DMA faults"),
    (Counter::LiveDomains, "live domains"),
    (Counter::AttachedDevices, "attached devices"),
    (Counter::Injected, "injected answers"),
    (Counter::Violations, "violations"),
    (Counter::Buses, "vPCI buses"),
    (Counter::Switches, "translation switches"),
];

fn list() {
    for scenario in scenario::all() {
        println!("{:14} {}", scenario.name, scenario.summary);
        for check in scenario.checks {
            println!("{:16} {}", "", check.name);
        }
    }
}

fn devices(minihv: Option<Minihv>) -> Result<()> {
    for function in pci::all()? {
        let group = function.group().map_or_else(|| "none".to_owned(), |g| g.to_string());
        let translation = match (minihv, function.logical_id()) {
            (Some(minihv), Some(id)) => {
                format!("{:#x} {:?} {:?}", id.0, minihv.device_domain(id)?, minihv.device_translation(id)?)
            }
            _ => String::new(),
        };
        let id = function.id;
        println!("{} {:04x}:{:04x} group {group} {translation}", function.address, id.vendor, id.device);
    }
    Ok(())
}

fn counters(minihv: Minihv) -> Result<()> {
    for call in IOMMU_CALLS {
        println!("{:8} {call}", minihv.calls(call)?);
    }
    for (counter, name) in COUNTERS {
        println!("{:8} {name}", minihv.counter(counter, 0)?);
    }
    Ok(())
}

fn run(action: Action) -> Result<ExitCode> {
    let minihv = Minihv::detect();
    let below = || minihv.context("no minihv below this guest");
    match action {
        Action::Run { scenario } => {
            let tally = scenario::run(scenario::find(&scenario)?, &init::options()?, &mut Reporter::to_stdout())?;
            return Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Action::List => list(),
        Action::Devices => devices(minihv)?,
        Action::Counters => counters(below()?)?,
        Action::Faults => {
            while let Some(fault) = below()?.next_fault()? {
                println!("{fault:x?}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hvguest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
