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
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::Parser;
use strum::VariantNames;

use crate::boot::{Failures, Leftovers, Patience};
use crate::case::{Tier, Variant};
use crate::cli::{Action, Cli, GuestArgs, RunArgs, TestArgs, ToolArgs};
use crate::image::Kernel;
use crate::job::{Job, Outcome};
use crate::ledger::Verdict;
use crate::progress::Progress;
use crate::suite::Selection;
use crate::tools::Tools;

/// File with what came of the test cases, below the directory of what is left of a run.
const LEDGER: &str = "ledger.json";

impl ToolArgs {
    /// A program that is built together with this one: in the same directory, or in that of the guest's target.
    fn beside(name: &str) -> Result<PathBuf> {
        let own = std::env::current_exe().context("the path of this program")?;
        let directory = own.parent().context("the path of this program")?;
        let profile = directory.file_name().context("the path of this program")?;
        let cross = directory.join("../x86_64-unknown-linux-gnu").join(profile).join(name);
        // The target's own directory first: a build for the host of the same name would be dynamic.
        Ok(if cross.is_file() { cross } else { directory.join(name) })
    }

    fn tools(&self) -> Result<Tools> {
        let minihv = match (&self.minihv, self.no_hypervisor) {
            (_, true) => None,
            (Some(elf), false) => Some(elf.clone()),
            (None, false) => Some(Self::beside("minihv")?),
        };
        let guest = match &self.guest {
            Some(guest) => guest.clone(),
            None => Self::beside("hvguest")?,
        };
        Ok(Tools {
            qemu: self.qemu.clone(),
            minihv,
            guest,
            busybox: self.busybox.clone(),
            fio: self.fio.clone(),
            kselftest: self.kselftest.clone(),
            samples: self.samples.clone(),
            fetched: self.fetched.clone(),
            bench: self.bench_module.clone(),
            attack: self.attack_module.clone(),
        })
    }

    fn logs(&self) -> PathBuf {
        self.log_dir.clone().unwrap_or_else(|| self.out.join("hvrun-logs"))
    }
}

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
        logs: args.tools.logs(),
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
        logs: args.tools.logs(),
        memory: args.guest.memory.clone(),
        cpus: args.cpus,
        parallel: pool::width(args.parallel),
        threads: args.guest.threads,
        patience: Patience { failures, ..args.guest.patience() },
        leftovers: args.guest.leftovers(),
        ledger: args.tools.out.join(LEDGER),
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
