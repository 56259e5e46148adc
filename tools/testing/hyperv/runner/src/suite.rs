// SPDX-License-Identifier: GPL-2.0
//! `hvrun test`: the table of test boots, one line per case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Context, Result};
use hvcore::cachelog::Strictness;
use hvcore::identity::Identity;
use hvcore::options::Options;

use crate::bench::Host;
use crate::boot::{self, Failures, Leftovers, Patience, Plan, Root};
use crate::case::{Case, PowerCycle, Role, Tier, Variant};
use crate::cases::{self, SUITES};
use crate::device::{Bus, Devices};
use crate::fingerprint::Fingerprints;
use crate::image::Kernel;
use crate::ktap::Status;
use crate::ledger::{Check, Entry, Ledger, Verdict as Ended};
use crate::mode;
use crate::pool;
use crate::progress::tail;
use crate::qemu::{Console, Iommu, Logs, Threads, Trace};
use crate::record::Record;
use crate::tools::Tools;
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
    /// File for what came of the cases.
    pub ledger: PathBuf,
    /// File with results that need not be had again, and for those of this run.
    pub resume: Option<PathBuf>,
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

/// minihv's options for a case: unless the case says otherwise, it is logged what caches may hold. What is measured is
/// the guest without that.
fn hypervisor(case: &Case, words: &str) -> Result<Options> {
    let mut options: Options = words.parse().with_context(|| case.path())?;
    let is_silent = !words.split(' ').any(|word| word.starts_with("cache="));
    if is_silent && case.suite != "bench" {
        let is_strict = case.append.iter().any(|word| word == mode::STRICT[0]);
        options.cache = if is_strict { Strictness::Strict } else { Strictness::Deferred };
    }
    Ok(options)
}

/// The machine as it is switched on again.
fn again(case: &Case, cycle: PowerCycle) -> Result<boot::PowerCycle> {
    let append = case.command_line_for(cycle.scenario.unwrap_or(case.scenario));
    Ok(boot::PowerCycle { append, hypervisor: hypervisor(case, cycle.hypervisor)? })
}

/// How long a case's guest may take. Where a check must fail, the others count, too.
fn patience(case: &Case, selection: &Selection) -> Patience {
    let patience = selection.patience.at_least(case.limit);
    match case.demands.failing.is_empty() {
        true => patience,
        false => Patience { failures: Failures::Followed, ..patience },
    }
}

/// Everything that is chosen for a case's boot.
///
/// # Errors
/// When minihv's options or the devices make no sense.
pub fn plan(case: &Case, kernel: &Kernel, selection: &Selection) -> Result<Plan> {
    let options = hypervisor(case, case.hypervisor)?;
    let iommu = match options.identity {
        Identity::Root => Iommu::IntelSecondStage,
        Identity::Guest | Identity::Isolated | Identity::L1vh => Iommu::Intel,
    };
    let buses: Vec<Bus> = case.devices.iter().map(|d| d.parse()).collect::<Result<_>>()?;
    Ok(Plan {
        name: case.path(),
        kernel: kernel.clone(),
        root: Root::Built,
        cpus: case.cpus.unwrap_or(selection.cpus),
        memory: case.memory.unwrap_or(&selection.memory).to_owned(),
        devices: Devices::new(&buses)?,
        iommu: match case.host {
            Host::Minihv => iommu,
            Host::Machine(iommu) => iommu,
        },
        clock: case.clock,
        threads: case.threads.unwrap_or(selection.threads),
        append: case.command_line(),
        hypervisor: options,
        power_cycles: case.power_cycles.iter().map(|cycle| again(case, *cycle)).collect::<Result<_>>()?,
        fio: case.fio,
        packs: case.packs.clone(),
        padding: 0,
        console: Console::Log,
        trace: Trace::Off,
        patience: patience(case, selection),
    })
}

/// The programs for a case: without the hypervisor where the kernel runs on the machine itself, and with the modules
/// that measure for its kernel.
fn tools_for(case: &Case, tools: &Tools) -> Tools {
    let bench = tools.bench.as_ref().map(|modules| modules.join(case.variant.to_string()));
    let tools = Tools { bench, ..tools.clone() };
    match case.host {
        Host::Minihv => tools,
        Host::Machine(_) => Tools { minihv: None, ..tools },
    }
}

/// One case, finished.
struct Finished {
    verdict: Verdict,
    record: Record,
}

fn run_case(case: &Case, kernel: &Kernel, tools: &Tools, selection: &Selection) -> Result<Finished> {
    let directory = log_directory(&selection.logs, case);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let work = selection.leftovers.directory(&directory)?;
    let plan = plan(case, kernel, selection)?;
    let record = plan.boot(&tools_for(case, tools), work.path(), Logs::new(&directory), &mut |_, _| {})?;
    Ok(Finished { verdict: verdict(&record, &case.judged())?, record })
}

/// Where a case's logs go.
pub fn log_directory(logs: &Path, case: &Case) -> PathBuf {
    logs.join(case.suite).join(case.name)
}

fn describe(verdict: &Verdict) -> String {
    let (guest, kernel) = (verdict.guest.count(Status::Pass), verdict.kernel.count(Status::Pass));
    let skipped = match verdict.guest.count(Status::Skip) + verdict.kernel.count(Status::Skip) {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    match kernel {
        0 => format!("{guest} checks{skipped}"),
        _ => format!("{guest} checks{skipped}, {kernel} KUnit tests"),
    }
}

/// What is written down of a case.
fn entry(case: &Case, finished: &Finished, fingerprint: &str) -> Entry {
    let Finished { verdict, record } = finished;
    let skipped = verdict.guest.tests.iter().chain(&verdict.kernel.tests).filter(|test| test.status == Status::Skip);
    Entry {
        verdict: if verdict.passed() { Ended::Passed } else { Ended::Failed },
        control: case.role == Role::Control,
        seconds: record.elapsed.as_secs_f64(),
        checks: verdict.guest.tests.iter().map(Check::from).collect(),
        kernel_tests: verdict.kernel.count(Status::Pass),
        skips: skipped.map(|test| format!("{}: {}", test.name, test.detail)).collect(),
        repeats: record.repeats.clone(),
        waits: verdict.waits.iter().map(|wait| (wait.seconds, wait.what.clone())).collect(),
        complaints: verdict.complaints.clone(),
        fingerprint: fingerprint.to_owned(),
        ..Entry::unrun(case.suite, case.name, "")
    }
}

/// What is said of a case besides its verdict.
fn remarks(case: &Case, finished: &Finished) -> String {
    let mut remarks = vec![describe(&finished.verdict)];
    if case.role == Role::Control {
        let failing: Vec<&str> = case.demands.failing.iter().map(|failing| failing.check.as_str()).collect();
        let failing = if failing.is_empty() { String::new() } else { format!(": {} must fail", failing.join(", ")) };
        remarks.push(format!("control{failing}"));
    }
    match finished.record.repeats.len() {
        0 => {}
        repeats => remarks.push(format!("boot number {}", repeats + 1)),
    }
    remarks.join(", ")
}

/// Tells how a case ended.
fn report(case: &Case, finished: &Finished, logs: &Path) {
    let (path, seconds, verdict) = (case.path(), finished.record.elapsed.as_secs_f64(), &finished.verdict);
    for why in &finished.record.repeats {
        println!("# {path}: the boot was repeated: {why}");
    }
    if verdict.passed() {
        println!("ok {path} ({seconds:.1} s, {})", remarks(case, finished));
        return;
    }
    println!("not ok {path} ({seconds:.1} s)");
    for complaint in &verdict.complaints {
        println!("  # {complaint}");
    }
    println!("  # logs: {}", log_directory(logs, case).display());
    println!("  # last lines of the console:");
    for line in tail(&finished.record.serial, TAIL) {
        println!("  | {line}");
    }
}

/// Results so far, and where they are written after each case.
struct Books<'a> {
    ledger: Ledger,
    /// Those of this run, and of earlier ones.
    kept: Ledger,
    selection: &'a Selection,
}

impl Books<'_> {
    fn add(&mut self, entry: Entry) -> Result<()> {
        if let Some(path) = &self.selection.resume {
            self.kept.add(entry.clone());
            self.kept.save(path)?;
        }
        self.ledger.add(entry);
        self.ledger.save(&self.selection.ledger)
    }
}

/// The kernel of a case; or what was not given that the case needs.
fn what_is_there<'a>(case: &Case, selection: &'a Selection, tools: &Tools) -> Result<&'a Kernel, String> {
    for pack in &case.packs {
        if pack.is_fetched() && tools.directory(*pack).is_none() {
            return Err(format!("no programs of {} given", <&str>::from(pack)));
        }
    }
    selection.kernels.get(&case.variant).ok_or_else(|| format!("no {} kernel given", case.variant))
}

/// Runs the chosen cases; a failing one does not stop the others.
///
/// # Errors
/// When the selection is empty or a guest cannot be started at all.
pub fn run(selection: &Selection, tools: &Tools) -> Result<Ledger> {
    let kept = selection.resume.as_deref().map(Ledger::load).transpose()?.unwrap_or_default();
    let mut books = Books { ledger: Ledger::default(), kept, selection };
    let fingerprints = Fingerprints::default();
    let mut chosen = Vec::new();
    for case in selection.cases()? {
        let kernel = match what_is_there(&case, selection, tools) {
            Ok(kernel) => kernel,
            Err(reason) => {
                println!("# {} not run: {reason}", case.path());
                books.add(Entry::unrun(case.suite, case.name, &reason))?;
                continue;
            }
        };
        let machine = format!("{} {} {:?}", selection.cpus, selection.memory, selection.threads);
        let fingerprint = match selection.resume {
            Some(_) => fingerprints.of(&case, kernel, tools, &machine)?,
            None => String::new(),
        };
        match books.kept.find_good(case.suite, case.name, &fingerprint) {
            Some(good) if selection.resume.is_some() => {
                println!("kept {} ({:.1} s, {} checks)", case.path(), good.seconds, good.checks.len());
                books.add(good)?;
            }
            _ => chosen.push((case, kernel, fingerprint)),
        }
    }
    let books = Mutex::new(books);
    pool::each(chosen, selection.parallel, |(case, kernel, fingerprint)| {
        let finished = run_case(&case, kernel, tools, selection)?;
        // Held while the lines are printed: those of one case stay together.
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        report(&case, &finished, &selection.logs);
        books.add(entry(&case, &finished, &fingerprint))
    })?;
    Ok(books.into_inner().unwrap_or_else(PoisonError::into_inner).ledger)
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
        let role = match case.role {
            Role::Test => "",
            Role::Control => "  (control)",
        };
        println!("{:35} {:11} scenario {}{tier}{role}", case.path(), case.variant.to_string(), case.scenario);
    }
    Ok(())
}
