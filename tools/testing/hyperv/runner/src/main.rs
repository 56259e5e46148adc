// SPDX-License-Identifier: GPL-2.0
//! Boots test guests under minihv, follows them and collects the verdict.

mod bench;
mod boot;
mod case;
mod cases;
mod cli;
mod conformance;
mod console;
mod demands;
mod device;
mod emulator;
mod expect;
mod faults;
mod fingerprint;
mod image;
mod initramfs;
mod job;
mod known;
mod ktap;
mod ledger;
mod lines;
mod mode;
mod modules;
mod monitor;
mod pool;
mod program;
mod progress;
mod qemu;
mod record;
mod report;
mod self_test;
mod single;
mod splat;
mod suite;
mod tools;
mod verdict;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::Parser;
use strum::VariantNames;

use crate::boot::{Failures, Leftovers, Patience};
use crate::case::{Tier, Variant};
use crate::cli::{Action, Cli, GuestArgs, RunArgs, TestArgs};
use crate::image::Kernel;
use crate::job::{Job, Outcome};
use crate::ledger::Verdict;
use crate::progress::Progress;
use crate::suite::Selection;

/// File with what came of the test cases, below the directory of what is left of a run.
const LEDGER: &str = "ledger.json";

impl GuestArgs {
    fn leftovers(&self) -> Leftovers {
        if self.keep {
            Leftovers::Kept
        } else {
            Leftovers::Removed
        }
    }

    fn patience(&self) -> Patience {
        let (total, silent) = (Duration::from_secs(self.timeout), Duration::from_secs(self.silence));
        Patience { failures: Failures::Followed, total, silent }
    }
}

/// Reads `NAME=DIR`.
fn variant(text: &str) -> Result<(Variant, Kernel)> {
    let (name, directory) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=DIR"))?;
    let Ok(variant) = name.parse() else {
        bail!("no kernel variant {name:?}; there are {}", Variant::VARIANTS.join(", "));
    };
    Ok((variant, Kernel::from_build(directory.as_ref())?))
}

fn run(args: RunArgs) -> Result<Outcome> {
    if args.shell {
        return single::boot(&args.into());
    }
    let progress = Progress::new();
    let job = Job {
        kernel: Kernel::from_parts(&args.kernel, args.modules.as_deref())?,
        cpus: args.cpus,
        threads: args.guest.threads,
        memory: args.guest.memory.clone(),
        devices: args.devices.clone(),
        append: args.append.clone(),
        hypervisor: args.hypervisor.parse()?,
        logs: args.tools.host.logs(),
        patience: args.guest.patience(),
        leftovers: args.guest.leftovers(),
    };
    let outcome = job.run(&args.tools.tools()?, &progress)?;
    let word = if outcome == Outcome::Passed { "PASS" } else { "FAIL" };
    println!("{word} after {:.1} s", progress.elapsed().as_secs_f64());
    Ok(outcome)
}

fn test(args: &TestArgs) -> Result<Outcome> {
    let kernels: BTreeMap<Variant, Kernel> = args.variants.iter().map(|text| variant(text)).collect::<Result<_>>()?;
    let failures = if args.fail_fast { Failures::End } else { Failures::Followed };
    let selection = Selection {
        suites: args.suites.clone(),
        cases: args.cases.clone(),
        tier: if args.all { Tier::Thorough } else { Tier::Quick },
        kernels,
        logs: args.tools.host.logs(),
        memory: args.guest.memory.clone(),
        cpus: args.cpus,
        parallel: pool::width(args.parallel),
        threads: args.guest.threads,
        patience: Patience { failures, ..args.guest.patience() },
        leftovers: args.guest.leftovers(),
        ledger: args.tools.host.out.join(LEDGER),
        resume: args.resume.clone(),
    };
    if args.list {
        suite::list(&selection)?;
        return Ok(Outcome::Passed);
    }
    let ledger = suite::run(&selection, &args.tools.tools()?)?;
    let (passed, failed) = (ledger.count(Verdict::Passed) + ledger.count(Verdict::Kept), ledger.count(Verdict::Failed));
    ledger.summary().iter().for_each(|line| println!("{line}"));
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { Outcome::Passed } else { Outcome::Failed })
}

/// The exit status says whether there was a driver to judge.
fn conformance_status(result: Result<conformance::Outcome>) -> ExitCode {
    match result {
        Ok(conformance::Outcome::Conforms) => ExitCode::SUCCESS,
        Ok(conformance::Outcome::Differs) => ExitCode::FAILURE,
        Ok(conformance::Outcome::NoDriver) => ExitCode::from(3),
        Err(error) => {
            eprintln!("hvrun: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().action {
        Action::Boot(args) => single::boot(&args),
        Action::Run(args) => run(args),
        Action::Test(args) => test(&args),
        Action::Bench(args) => bench::run(&args),
        Action::Report(args) => report::run(&args),
        Action::Conformance(args) => return conformance_status(conformance::run(&args)),
    };
    match result {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hvrun: {error:#}");
            ExitCode::from(2)
        }
    }
}
