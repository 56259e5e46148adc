// SPDX-License-Identifier: GPL-2.0
//! `hvrun test`: the table of test boots, one line per case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Context, Result};

use crate::boot::{Leftovers, Patience, Plan, Tools};
use crate::case::{Case, Tier, Variant};
use crate::cases::{self, SUITES};
use crate::device::{Bus, Devices};
use crate::image::Kernel;
use crate::initramfs::Fio;
use crate::ktap::Status;
use crate::pool;
use crate::progress::tail;
use crate::qemu::{Console, Iommu, Logs, Threads, Trace};
use crate::verdict::{verdict, Verdict};

/// Console lines that are shown of a failing boot.
const TAIL: usize = 30;

/// What the command line chose.
pub struct Selection {
    /// Suites to run; all when empty.
    pub suites: Vec<String>,
    /// Up to which tier cases run; those that are named by `cases` run whatever their tier.
    pub tier: Tier,
    /// Only cases whose `suite/name` contains one of these, or is one of them where it ends in `$`; all when empty.
    pub cases: Vec<String>,
    /// The kernels that were given.
    pub kernels: BTreeMap<Variant, Kernel>,
    /// Where logs go, one directory per case.
    pub logs: PathBuf,
    /// RAM of each guest.
    pub memory: String,
    /// Number of processors of each guest, where the case does not choose it.
    pub cpus: u32,
    /// Guests at the same time.
    pub parallel: usize,
    /// How their processors run.
    pub threads: Threads,
    /// Time limits of each guest.
    pub patience: Patience,
    /// What becomes of the guests' files.
    pub leftovers: Leftovers,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

impl Selection {
    /// The chosen cases.
    ///
    /// # Errors
    /// When a name fits nothing.
    pub fn cases(&self) -> Result<Vec<Case>> {
        for suite in &self.suites {
            if !SUITES.contains(&suite.as_str()) {
                bail!("no suite {suite:?}; there are {}", SUITES.join(", "));
            }
        }
        let wanted = |case: &Case| {
            let path = case.path();
            (self.suites.is_empty() || self.suites.iter().any(|s| s == case.suite))
                && (case.tier <= self.tier || !self.cases.is_empty())
                && (self.cases.is_empty() || self.cases.iter().any(|text| is_named(&path, text)))
        };
        let chosen: Vec<Case> = cases::all().into_iter().filter(wanted).collect();
        if chosen.is_empty() {
            bail!("no case fits");
        }
        Ok(chosen)
    }
}

/// Whether a case is meant by a text of the command line.
fn is_named(path: &str, text: &str) -> bool {
    match text.strip_suffix('$') {
        Some(whole) => path == whole,
        None => path.contains(text),
    }
}

fn plan(case: &Case, kernel: &Kernel, selection: &Selection) -> Result<Plan> {
    let buses: Vec<Bus> = case.devices.iter().map(|d| d.parse()).collect::<Result<_>>()?;
    Ok(Plan {
        name: case.path(),
        kernel: kernel.clone(),
        cpus: case.cpus.unwrap_or(selection.cpus),
        memory: case.memory.unwrap_or(&selection.memory).to_owned(),
        devices: Devices::new(&buses)?,
        iommu: Iommu::Intel,
        clock: case.clock,
        threads: selection.threads,
        append: case.command_line(),
        hypervisor: case.hypervisor.parse().with_context(|| case.path())?,
        fio: Fio::Left,
        packs: case.packs.clone(),
        padding: 0,
        console: Console::Log,
        trace: Trace::Off,
        patience: selection.patience.at_least(case.limit),
    })
}

/// One case, finished.
struct Finished {
    verdict: Verdict,
    seconds: f64,
    serial: Vec<String>,
}

fn run_case(case: &Case, kernel: &Kernel, tools: &Tools, selection: &Selection) -> Result<Finished> {
    let directory = log_directory(&selection.logs, case);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let work = selection.leftovers.directory(&directory)?;
    let record = plan(case, kernel, selection)?.boot(tools, work.path(), Logs::new(&directory), &mut |_, _| {})?;
    let verdict = verdict(&record, &case.demands)?;
    Ok(Finished { verdict, seconds: record.elapsed.as_secs_f64(), serial: record.serial })
}

fn log_directory(logs: &Path, case: &Case) -> PathBuf {
    logs.join(case.suite).join(case.name)
}

fn describe(verdict: &Verdict) -> String {
    let (guest, kernel) = (verdict.guest.count(Status::Pass), verdict.kernel.count(Status::Pass));
    let skipped = match verdict.guest.count(Status::Skip) {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    match kernel {
        0 => format!("{guest} checks{skipped}"),
        _ => format!("{guest} checks{skipped}, {kernel} KUnit tests"),
    }
}

/// Tells how a case ended, and counts it.
fn report(case: &Case, finished: &Finished, logs: &Path, totals: &mut Totals) {
    let (path, seconds, verdict) = (case.path(), finished.seconds, &finished.verdict);
    if verdict.passed() {
        totals.passed += 1;
        println!("ok {path} ({seconds:.1} s, {})", describe(verdict));
        return;
    }
    totals.failed += 1;
    println!("not ok {path} ({seconds:.1} s)");
    for complaint in &verdict.complaints {
        println!("  # {complaint}");
    }
    println!("  # logs: {}", log_directory(logs, case).display());
    println!("  # last lines of the console:");
    for line in tail(&finished.serial, TAIL) {
        println!("  | {line}");
    }
}

/// Runs the chosen cases; a failing one does not stop the others.
///
/// # Errors
/// When the selection is empty or a guest cannot be started at all.
pub fn run(selection: &Selection, tools: &Tools) -> Result<Totals> {
    let mut chosen = Vec::new();
    for case in selection.cases()? {
        match selection.kernels.get(&case.variant) {
            Some(kernel) => chosen.push((case, kernel)),
            None => println!("# {} not run: no {} kernel given", case.path(), case.variant.name()),
        }
    }
    let totals = Mutex::new(Totals::default());
    pool::each(chosen, selection.parallel, |(case, kernel)| {
        let finished = run_case(&case, kernel, tools, selection)?;
        // Held while the lines are printed: those of one case stay together.
        let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
        report(&case, &finished, &selection.logs, &mut totals);
        Ok(())
    })?;
    Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Prints the chosen cases.
///
/// # Errors
/// When nothing fits.
pub fn list(selection: &Selection) -> Result<()> {
    for case in selection.cases()? {
        let tier = match case.tier {
            Tier::Quick => "",
            Tier::Thorough => "  (only with --all)",
        };
        println!("{:35} {:11} scenario {}{tier}", case.path(), case.variant.name(), case.scenario);
    }
    Ok(())
}
