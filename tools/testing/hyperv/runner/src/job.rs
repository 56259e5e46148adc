// SPDX-License-Identifier: GPL-2.0
//! `hvrun run`: the main job. Two boots of the release kernel, verified I/O, translation and protection.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hvprotocol::report::PREFIX;
use regex::Regex;

use crate::boot::{Leftovers, Patience, Plan, Root};
use crate::console::message;
use crate::demands::{Demands, HYPERVISOR_CHECKS};
use crate::device::{Bus, Devices};
use crate::expect::{self, Expectation};
use crate::image::Kernel;
use crate::initramfs::Fio;
use crate::ktap::Status;
use crate::progress::{table, tail, Progress};
use crate::qemu::{Clock, Console, Iommu, Logs, Threads, Trace};
use crate::tools::Tools;
use crate::verdict::{verdict, Verdict};

/// Console lines that are shown of a failing boot.
const TAIL: usize = 30;

/// A boot of the main job: name, words for the kernel.
const BOOTS: [(&str, &str); 2] = [
    ("dma-strict", "iommu.strict=1 hvtest.mode=strict hvtest.scenario=main"),
    ("dma-fq", "iommu.strict=0 hvtest.mode=deferred hvtest.scenario=main"),
];

/// What the command line chose.
pub struct Job {
    /// The release kernel.
    pub kernel: Kernel,
    /// Number of processors.
    pub cpus: u32,
    /// How they run.
    pub threads: Threads,
    /// RAM.
    pub memory: String,
    /// Devices.
    pub devices: Vec<Bus>,
    /// Words added to the kernel's command line.
    pub append: String,
    /// minihv's options.
    pub hypervisor: hvcore::options::Options,
    /// Where logs go, one directory per boot.
    pub logs: PathBuf,
    /// Time limits of each boot.
    pub patience: Patience,
    /// What becomes of the guests' files.
    pub leftovers: Leftovers,
}

/// One boot, finished.
struct Finished {
    name: &'static str,
    verdict: Verdict,
    seconds: f64,
    logs: PathBuf,
}

impl Job {
    fn boot(&self, name: &'static str, words: &str, tools: &Tools, progress: &Progress) -> Result<Finished> {
        let logs = self.logs.join("run").join(name);
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let work = self.leftovers.directory(&logs)?;
        let plan = Plan {
            name: name.to_owned(),
            kernel: self.kernel.clone(),
            root: Root::Built,
            cpus: self.cpus,
            memory: self.memory.clone(),
            devices: Devices::new(&self.devices)?,
            iommu: Iommu::Intel,
            clock: Clock::Host,
            threads: self.threads,
            append: format!("{words} {}", self.append),
            hypervisor: self.hypervisor.clone(),
            power_cycles: Vec::new(),
            fio: Fio::Packed,
            packs: Vec::new(),
            padding: 0,
            console: Console::Log,
            trace: Trace::Off,
            patience: self.patience,
        };
        progress.stage("boot", &format!("{name}: {} processors, {}", self.cpus, self.memory));
        let driver = Regex::new(expect::DRIVER).context("the driver's lines")?;
        let mut watch = |line: &str, _| {
            let text = message(line);
            match text.strip_prefix(PREFIX) {
                Some(report) => progress.stage("guest", report),
                None if expect::counts(text) && driver.is_match(text) => progress.stage("driver", text),
                None => {}
            }
        };
        let record = plan.boot(tools, work.path(), Logs::new(&logs), &mut watch)?;
        // Without minihv there is no such driver, and what only minihv can tell is skipped.
        let (log, skippable): (Vec<Expectation>, Vec<String>) = match tools.minihv {
            Some(_) => (expect::ordinary(&[], 1), Vec::new()),
            None => (Vec::new(), HYPERVISOR_CHECKS.iter().map(|c| (*c).to_owned()).collect()),
        };
        let verdict = verdict(&record, &Demands { log, skippable, ..Demands::default() })?;
        let seconds = record.elapsed.as_secs_f64();
        let outcome = if verdict.passed() { "passed" } else { "FAILED" };
        progress.stage("boot", &format!("{name}: {outcome} after {seconds:.1} s"));
        if !verdict.passed() {
            for line in tail(&record.serial, TAIL) {
                println!("  | {line}");
            }
        }
        Ok(Finished { name, verdict, seconds, logs })
    }

    /// Runs all boots and prints the table. Returns whether everything passed.
    ///
    /// # Errors
    /// When a guest cannot be started at all.
    pub fn run(&self, tools: &Tools, progress: &Progress) -> Result<Outcome> {
        let mut finished = Vec::new();
        for (name, words) in BOOTS {
            finished.push(self.boot(name, words, tools, progress)?);
        }
        println!();
        let mut rows = Vec::new();
        for boot in &finished {
            for test in &boot.verdict.guest.tests {
                let word = match test.status {
                    Status::Pass => "PASS",
                    Status::Fail => "FAIL",
                    Status::Skip => "SKIP",
                };
                rows.push(vec![word.to_owned(), boot.name.to_owned(), test.name.clone(), test.detail.clone()]);
            }
            let word = if boot.verdict.passed() { "PASS" } else { "FAIL" };
            let text = format!("{:.1} s, no complaint about the kernel log", boot.seconds);
            let text = if boot.verdict.passed() { text } else { boot.verdict.complaints.join("; ") };
            rows.push(vec![word.to_owned(), boot.name.to_owned(), "whole boot".to_owned(), text]);
        }
        table(&rows);
        println!();
        for boot in &finished {
            println!("logs of {}: {}", boot.name, boot.logs.display());
        }
        let passed = finished.iter().all(|boot| boot.verdict.passed());
        Ok(if passed { Outcome::Passed } else { Outcome::Failed })
    }
}

/// Whether everything was as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Passed,
    /// It was not; what, is printed.
    Failed,
}
