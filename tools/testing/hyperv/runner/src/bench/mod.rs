// SPDX-License-Identifier: GPL-2.0
//! `hvrun bench`: what the driver and its peers cost, in instructions.
//!
//! Instructions are counted by the emulator, so that nothing depends on the machine that it runs on. Each configuration
//! is booted twice all the same: what differs then is not fit to be compared with anything. Two more boots, whose memory
//! lies elsewhere, tell how much of a figure is due to that, and so what differs between two builds of the same code.

mod change;
mod chart;
mod configuration;
mod environment;
mod extrapolation;
mod figure;
mod history;
mod limit;
mod measure;
mod objects;
mod reference;
mod results;
mod root;
mod table;
mod targets;
mod variation;
mod virtio;

use std::path::Path;

use anyhow::{Context, Result};

pub use self::configuration::{Host, COUNTED};
pub use self::targets::{FLUSH_ALL, FLUSH_RANGE};

use self::configuration::Configuration;
use self::environment::Environment;
use self::history::Extent;
use self::measure::Bed;
use self::results::Results;
use self::targets::{State, Target};
use crate::cli::BenchArgs;
use crate::image::Kernel;
use crate::job::Outcome;
use crate::pool;
use crate::progress::Progress;

/// File with the results of a run, below the directory of what is left of it.
const RESULTS: &str = "results.json";
/// The same as a chart.
const CHART: &str = "chart.svg";

/// Measures, or takes results that were measured before. The second value tells whether all was in order.
fn results(args: &BenchArgs, configurations: &[Configuration], progress: &Progress) -> Result<(Results, Outcome)> {
    if let Some(path) = &args.show {
        return Ok((Results::load(path)?, Outcome::Passed));
    }
    let mut results = Results::new(Environment::find(args)?);
    let bed = Bed {
        kernel: Kernel::from_build(&args.kernel_build)?,
        virtio_rust_kernel: args.virtio_rust_build.as_deref().map(Kernel::from_build).transpose()?,
        root_kernel: args.root_build.as_deref().map(Kernel::from_build).transpose()?,
        tools: args.tools.tools()?,
        append: match args.kinds.as_slice() {
            [] => String::new(),
            kinds => format!("hvtest.measure={}", kinds.join(",")),
        },
        cpus: args.cpus,
        memory: args.guest.memory.clone(),
        patience: args.guest.patience(),
        leftovers: args.guest.leftovers(),
        logs: args.tools.host.logs().join("bench"),
        progress,
    };
    let objects = objects::measure(&args.kernel_build, &args.size)?;
    let measured = bed.measure(configurations, pool::width(args.parallel))?;
    let mut outcome = Outcome::Passed;
    results.configurations.insert(objects::OBJECTS.to_owned(), objects);
    for (name, measured) in measured {
        for complaint in measured.complaints {
            outcome = Outcome::Failed;
            progress.stage("complaint", &format!("{name}: {complaint}"));
        }
        if let Some(figures) = measured.figures {
            if !measured.variation.is_empty() {
                results.variation.insert(name.clone(), measured.variation);
            }
            results.configurations.insert(name, figures);
        }
    }
    Ok((results, outcome))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Prints everything about results.
fn show(results: &Results, args: &BenchArgs) -> Result<()> {
    for table in table::all_figures(results, &args.metrics) {
        println!("\n{table}");
    }
    if let Some(comparison) = table::comparison(results) {
        println!("\nInstructions, clock included; strict unmap is the guest's share:\n\n{comparison}");
    }
    let targets = targets::targets(results);
    let everything = args.configurations.is_empty() && args.kinds.is_empty();
    let (shown, hidden): (Vec<&Target>, Vec<&Target>) =
        targets.iter().partition(|target| everything || target.state() != State::Unmeasured);
    println!("\n{}", table::targets(&shown));
    if !hidden.is_empty() {
        println!(" {} targets are about what was not measured\n", hidden.len());
    }
    if let Some(line) = table::variation(results) {
        println!("{line}\n");
    }
    let Some(kept) = args.kept.as_ref().filter(|path| path.is_file()) else { return Ok(()) };
    let extent = if args.kinds.is_empty() { Extent::Whole } else { Extent::Part };
    let lines = history::compare(&Results::load(kept)?, results, extent);
    if lines.is_empty() {
        println!("nothing changed since {}", kept.display());
    } else {
        println!("since {}:", kept.display());
        lines.iter().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Runs the benchmark and prints what came of it.
///
/// # Errors
/// When a guest cannot be started at all, or a file cannot be read or written.
pub fn run(args: &BenchArgs) -> Result<Outcome> {
    let configurations = configuration::chosen(&args.configurations)?;
    if args.list {
        configurations.iter().for_each(|c| println!("{:16} {}", c.name, c.append()));
        return Ok(Outcome::Passed);
    }
    let progress = Progress::new();
    let (results, outcome) = results(args, &configurations, &progress)?;
    show(&results, args)?;
    std::fs::create_dir_all(&args.tools.host.out).with_context(|| args.tools.host.out.display().to_string())?;
    if args.show.is_none() {
        write(&args.tools.host.out.join(RESULTS), &results.to_json()?)?;
    }
    write(&args.tools.host.out.join(CHART), &chart::svg(&results)?)?;
    let targets = targets::targets(&results);
    let met = targets.iter().filter(|target| target.state() == State::Met).count();
    progress.stage("targets", &format!("{met} of {} met", targets.len()));
    if outcome == Outcome::Failed {
        progress.stage("end", "FAILED: what the guests measured is not fit to be used");
        return Ok(outcome);
    }
    if let (true, Some(kept)) = (args.record, &args.kept) {
        let recorded = if args.configurations.is_empty() { results } else { Results::load(kept)?.updated(results)? };
        write(kept, &recorded.to_json()?)?;
        write(&kept.with_extension("svg"), &chart::svg(&recorded)?)?;
        progress.stage("recorded", &kept.display().to_string());
    }
    Ok(if args.check_targets && met < targets.len() { Outcome::Failed } else { Outcome::Passed })
}
