// SPDX-License-Identifier: GPL-2.0
//! `hvrun conformance`: any kernel, with any driver of this IOMMU or with none, judged by what needs nothing of this
//! project inside the kernel.

mod judgement;
mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use serde::Serialize;

use crate::boot::{Failures, Patience};
use crate::case::{self, Tier, Variant};
use crate::cli::ConformanceArgs;
use crate::image::Kernel;
use crate::modules;
use crate::progress::{table as print_table, Progress};
use crate::qemu::Logs;
use crate::record::Record;
use crate::suite::{self, Selection};
use crate::tools::Tools;
use crate::verdict::verdict;

use self::judgement::{judge_all, Case, Driver, Judgement};

/// Modules that guests need, where they are modules: drivers of devices first, then the buses that the devices are on.
const MODULES: [&str; 9] = [
    "nvme",
    "virtio_pci",
    "virtio_blk",
    "vfio_iommu_type1",
    "iommufd",
    "vfio_pci",
    "hv_vmbus",
    "pci_hyperv",
    "hv_utils",
];

/// File with everything that came of it.
const RESULTS: &str = "conformance.json";

/// What came of it, for programs.
#[derive(Serialize)]
struct Results {
    /// What `uname -r` says.
    kernel: String,
    driver: Driver,
    /// Modules that were loaded.
    modules: Vec<String>,
    cases: Vec<Case>,
}

/// How a kernel was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was tried is right.
    Conforms,
    /// Something differs.
    Differs,
    /// There is no driver to judge. What devices reach without one was shown.
    NoDriver,
}

/// The boots of one kernel.
struct Judge<'a> {
    kernel: Kernel,
    modules: Vec<String>,
    selection: Selection,
    tools: &'a Tools,
}

impl Judge<'_> {
    /// A case with the words that load this kernel's modules, and with none that are for kernels of this project.
    fn prepare(&self, case: case::Case) -> case::Case {
        let case = case.variant(Variant::Release);
        match self.modules.as_slice() {
            [] => case,
            names => case.append(&format!("hvtest.modules={}", names.join(","))),
        }
    }

    fn boot(&self, case: &case::Case) -> Result<(Record, PathBuf)> {
        let directory = suite::log_directory(&self.selection.logs, case);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let work = self.selection.leftovers.directory(&directory)?;
        let plan = suite::plan(case, &self.kernel, &self.selection)?;
        let record = plan.boot(self.tools, work.path(), Logs::new(&directory), &mut |_, _| {})?;
        Ok((record, directory))
    }

    /// What the kernel does with the IOMMU, seen from below. Of a boot in which minihv said nothing that is not known.
    fn look(&self) -> Result<Driver> {
        let case = self.prepare(case::Case::new("conformance", "look", "boot").append("hvtest.mode=strict"));
        let (record, logs) = self.boot(&case)?;
        let logs = logs.display();
        ensure!(
            !record.hypervisor.is_empty(),
            "minihv did not start in QEMU; what QEMU says of that is in {logs}/qemu.log"
        );
        Ok(Driver::of(&record.hypervisor))
    }

    fn judge(&self, about: &'static str, name: &'static str) -> Result<Case> {
        let case = self.prepare(table::case(name).with_context(|| format!("no case {name}"))?);
        let demands = table::demands(&case);
        let (record, logs) = self.boot(&case)?;
        let (judgement, checks, complaints) = judge_all(&verdict(&record, &demands)?, &demands);
        let seconds = record.elapsed.as_secs_f64();
        Ok(Case { about, name, judgement, seconds, checks, complaints, logs: Some(logs) })
    }

    /// Judges by the cases that suit what the kernel does, and names the others.
    fn judge_all(&self, driver: Driver, wanted: &[String], progress: &Progress) -> Result<Vec<Case>> {
        let (suitable, others) = match driver {
            Driver::InUse => (&table::WITH_DRIVER[..], &table::WITHOUT_DRIVER[..]),
            Driver::NotInUse | Driver::None => (&table::WITHOUT_DRIVER[..], &table::WITH_DRIVER[..]),
        };
        let mut cases = Vec::new();
        for &(about, name) in suitable {
            if !wanted.is_empty() && !wanted.iter().any(|text| name.contains(text.as_str())) {
                cases.push(Case::not_tried(about, name, "not asked for".to_owned()));
                continue;
            }
            let case = self.judge(about, name)?;
            progress.stage(case.judgement.word(), &format!("{name}: {about} ({:.1} s)", case.seconds));
            cases.push(case);
        }
        let reason = || driver.describe().to_owned();
        cases.extend(others.iter().map(|&(about, name)| Case::not_tried(about, name, reason())));
        Ok(cases)
    }
}

/// The table: a line for each check, and one for what is wrong besides.
fn rows(cases: &[Case]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |judgement: Judgement, name: &str, what: &str, detail: &str| {
        rows.push([judgement.word(), name, what, detail].map(str::to_owned).to_vec());
    };
    for case in cases {
        for check in &case.checks {
            row(check.judgement, case.name, &check.name, &check.detail);
        }
        let (what, logs) = match &case.logs {
            Some(logs) => ("whole boot", format!("logs in {}", logs.display())),
            None => (case.about, String::new()),
        };
        let complaints = if case.complaints.is_empty() { logs } else { case.complaints.join("; ") };
        row(case.judgement, case.name, what, &complaints);
    }
    rows
}

fn selection(args: &ConformanceArgs) -> Selection {
    Selection {
        suites: Vec::new(),
        tier: Tier::Thorough,
        cases: Vec::new(),
        kernels: std::collections::BTreeMap::new(),
        logs: args.host.logs(),
        memory: args.guest.memory.clone(),
        cpus: args.cpus,
        parallel: 1,
        threads: args.guest.threads,
        patience: Patience { failures: Failures::Followed, ..args.guest.patience() },
        leftovers: args.guest.leftovers(),
        ledger: args.host.out.join(RESULTS),
        resume: None,
    }
}

/// Judges a kernel.
///
/// # Errors
/// When it is no kernel, its modules are of another one, a program is missing, or a guest cannot be started at all.
pub fn run(args: &ConformanceArgs) -> Result<Outcome> {
    let progress = Progress::new();
    let release = modules::release(&args.kernel)?;
    let tools = args.host.tools()?;
    fs::create_dir_all(&args.host.out).with_context(|| args.host.out.display().to_string())?;
    let work = tempfile::tempdir_in(&args.host.out).context("a directory for modules")?;
    let chosen =
        args.modules.as_deref().map(|root| modules::choose(root, &release, &MODULES, work.path())).transpose()?;
    let root = chosen.as_ref().map(|chosen| chosen.root.as_path());
    let judge = Judge {
        kernel: Kernel::from_parts(&args.kernel, root)?,
        modules: chosen.as_ref().map(|chosen| chosen.names.clone()).unwrap_or_default(),
        selection: selection(args),
        tools: &tools,
    };
    progress.stage("kernel", &format!("{release}, modules: {}", judge.modules.join(" ")));
    let driver = judge.look()?;
    progress.stage("driver", driver.describe());
    let cases = judge.judge_all(driver, &args.cases, &progress)?;
    println!();
    print_table(&rows(&cases));
    let count = |judgement| cases.iter().filter(|case| case.judgement == judgement).count();
    let (right, differing, not_tried) =
        (count(Judgement::Right), count(Judgement::Differs), count(Judgement::NotTried));
    let path = args.host.out.join(RESULTS);
    let results = Results { kernel: release, driver, modules: judge.modules.clone(), cases };
    fs::write(&path, serde_json::to_string_pretty(&results)? + "\n").with_context(|| path.display().to_string())?;
    println!("\n{}", driver.describe());
    println!("{right} cases right, {differing} differ, {not_tried} not tried; {}", path.display());
    Ok(match (differing, driver) {
        (1.., _) => Outcome::Differs,
        (0, Driver::InUse) => Outcome::Conforms,
        (0, Driver::NotInUse | Driver::None) => Outcome::NoDriver,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_what_is_wrong_besides() {
        let case = Case::not_tried("what", "suite/name", "no driver".to_owned());
        assert_eq!(rows(&[case]), [["not tried", "suite/name", "what", "no driver"]]);
    }
}
