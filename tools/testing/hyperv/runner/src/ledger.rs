// SPDX-License-Identifier: GPL-2.0
//! What came of the test cases: for the summary at the end, for a later run, and for the report.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ktap::{Status, Test};
use crate::record::is_suspicion;

/// Version of the file's format.
const FORMAT: u32 = 1;
/// Skipped checks and waits of one case that are kept, longest first.
const KEPT_MAX: usize = 50;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All was well.
    Passed,
    /// Something was not.
    Failed,
    /// It passed in an earlier run, with the same kernel, tools and definition.
    Kept,
    /// It was not run: its kernel, or a program that it needs, was not given.
    Unrun,
}

/// A check or a test of the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// `pass`, `fail` or `skip`.
    pub status: String,
    /// What it says.
    pub detail: String,
}

impl From<&Test> for Check {
    fn from(test: &Test) -> Check {
        let status = match test.status {
            Status::Pass => "pass",
            Status::Fail => "fail",
            Status::Skip => "skip",
        };
        Check { name: test.name.clone(), status: status.to_owned(), detail: test.detail.clone() }
    }
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Suite.
    pub suite: String,
    /// Name in the suite.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it was not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether it proves that a check can fail.
    pub control: bool,
    /// From the start of the emulator to its end, of the boot that counts.
    pub seconds: f64,
    /// Checks of the guest program.
    pub checks: Vec<Check>,
    /// Number of the kernel's own tests that passed.
    pub kernel_tests: usize,
    /// Checks and tests of the kernel's own that were skipped, with the reason.
    pub skips: Vec<String>,
    /// Why boots were repeated.
    pub repeats: Vec<String>,
    /// Long waits, with their seconds.
    pub waits: Vec<(f64, String)>,
    /// What was wrong.
    pub complaints: Vec<String>,
    /// What the result depends on; see [`crate::fingerprint`].
    pub fingerprint: String,
}

impl Entry {
    /// A case that was not run.
    pub fn unrun(suite: &str, name: &str, reason: &str) -> Entry {
        Entry {
            suite: suite.to_owned(),
            name: name.to_owned(),
            verdict: Verdict::Unrun,
            reason: reason.to_owned(),
            control: false,
            seconds: 0.0,
            checks: Vec::new(),
            kernel_tests: 0,
            skips: Vec::new(),
            repeats: Vec::new(),
            waits: Vec::new(),
            complaints: Vec::new(),
            fingerprint: String::new(),
        }
    }

    /// `suite/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// Whether it passed, now or earlier.
    pub fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Passed | Verdict::Kept)
    }

    /// Whether this result is good for a case with this fingerprint.
    fn holds_for(&self, suite: &str, name: &str, fingerprint: &str) -> bool {
        self.passed()
            && (self.suite.as_str(), self.name.as_str(), self.fingerprint.as_str()) == (suite, name, fingerprint)
    }
}

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Version of the format.
    pub format: u32,
    /// The cases, in the order of their suites and names once they are sorted.
    pub cases: Vec<Entry>,
}

/// Sums of one suite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Passed, now or earlier.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped checks.
    pub skips: usize,
    /// Not run.
    pub unrun: usize,
    /// Seconds of all its boots.
    pub seconds: f64,
}

impl Ledger {
    /// Reads a file; an empty ledger when there is none.
    ///
    /// # Errors
    /// When the file is no ledger.
    pub fn load(path: &Path) -> Result<Ledger> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let ledger: Ledger = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                // What another version wrote is as good as nothing.
                Ok(if ledger.format == FORMAT { ledger } else { Ledger::default() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes the file, wholly or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let whole = Ledger { format: FORMAT, ..self.clone() };
        let text = serde_json::to_string_pretty(&whole).context("the ledger")? + "\n";
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> Result<()> {
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Adds a case, in place of an earlier result of the same one.
    pub fn add(&mut self, mut entry: Entry) {
        entry.waits.sort_by(|a, b| b.0.total_cmp(&a.0));
        entry.waits.truncate(KEPT_MAX);
        match self.cases.iter_mut().find(|old| old.suite == entry.suite && old.name == entry.name) {
            Some(old) => *old = entry,
            None => self.cases.push(entry),
        }
    }

    /// A result that makes it needless to run a case again.
    pub fn find_good(&self, suite: &str, name: &str, fingerprint: &str) -> Option<Entry> {
        let good = self.cases.iter().find(|entry| entry.holds_for(suite, name, fingerprint))?;
        Some(Entry { verdict: Verdict::Kept, ..good.clone() })
    }

    /// How many cases ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|entry| entry.verdict == verdict).count()
    }

    /// Sums by suite, in the order in which the suites first appear in `order`, then the others.
    pub fn suites(&self, order: &[&str]) -> Vec<(String, Sums)> {
        let mut sums: BTreeMap<(usize, &str), Sums> = BTreeMap::new();
        for entry in &self.cases {
            let place = order.iter().position(|suite| *suite == entry.suite).unwrap_or(order.len());
            let sum = sums.entry((place, &entry.suite)).or_default();
            match entry.verdict {
                Verdict::Passed | Verdict::Kept => sum.passed += 1,
                Verdict::Failed => sum.failed += 1,
                Verdict::Unrun => sum.unrun += 1,
            }
            sum.skips += entry.skips.len();
            sum.seconds += entry.seconds;
        }
        sums.into_iter().map(|((_, suite), sum)| (suite.to_owned(), sum)).collect()
    }

    /// The lines at the end of a run, before the verdict.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "# {:14} {:>6} {:>6} {:>7} {:>7} {:>8}",
            "suite", "passed", "failed", "skipped", "not run", "seconds"
        )];
        for (suite, sum) in self.suites(&crate::cases::SUITES) {
            let Sums { passed, failed, skips, unrun, seconds } = sum;
            lines.push(format!("# {suite:14} {passed:6} {failed:6} {skips:7} {unrun:7} {seconds:8.1}"));
        }
        lines.push(format!("# kept from an earlier run: {}", self.count(Verdict::Kept)));
        let controls = self.cases.iter().filter(|e| e.control && e.verdict != Verdict::Unrun).count();
        lines.push(format!("# controls, in which a check must fail: {controls}"));
        let repeats = self.cases.iter().flat_map(|entry| entry.repeats.iter().map(move |why| (entry, why)));
        let repeats: Vec<String> = repeats.map(|(entry, why)| format!("{}: {why}", entry.path())).collect();
        let suspected = self.cases.iter().flat_map(|entry| &entry.repeats).filter(|why| is_suspicion(why)).count();
        lines.push(format!(
            "# repeated boots: {}, without proof that the emulator broke them: {suspected}",
            repeats.len()
        ));
        lines.extend(repeats.iter().map(|text| format!("#   {text}")));
        let waits = self.cases.iter().flat_map(|entry| entry.waits.iter().map(move |wait| (entry, wait)));
        let mut waits: Vec<(f64, String)> =
            waits.map(|(entry, (seconds, what))| (*seconds, format!("{}: {what}", entry.path()))).collect();
        waits.sort_by(|a, b| b.0.total_cmp(&a.0));
        let sum: f64 = waits.iter().map(|(seconds, _)| seconds).sum();
        lines.push(format!("# long waits: {}, {sum:.0} s altogether", waits.len()));
        lines.extend(waits.iter().take(5).map(|(seconds, text)| format!("#   {seconds:.1} s, {text}")));
        let mut skips: BTreeMap<&str, usize> = BTreeMap::new();
        for skip in self.cases.iter().flat_map(|entry| &entry.skips) {
            // The reason stands behind the name.
            *skips.entry(skip.split_once(": ").map_or("", |(_, reason)| reason)).or_default() += 1;
        }
        lines.push(format!("# skipped checks: {}", skips.values().sum::<usize>()));
        lines.extend(skips.iter().map(|(reason, count)| format!("#   {count} for {reason:?}")));
        let mut unrun: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in self.cases.iter().filter(|entry| entry.verdict == Verdict::Unrun) {
            unrun.entry(&entry.reason).or_default().push(entry.path());
        }
        lines.push(format!("# cases not run: {}", self.count(Verdict::Unrun)));
        lines.extend(unrun.iter().map(|(reason, cases)| format!("#   {reason}: {}", cases.join(", "))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, verdict: Verdict) -> Entry {
        Entry {
            verdict,
            reason: String::new(),
            seconds: 2.5,
            fingerprint: "f".to_owned(),
            ..Entry::unrun("boot", name, "")
        }
    }

    #[test]
    fn only_what_passed_with_the_same_fingerprint_is_kept() {
        let mut ledger = Ledger::default();
        for (name, verdict) in
            [("a", Verdict::Passed), ("b", Verdict::Failed), ("c", Verdict::Unrun), ("d", Verdict::Kept)]
        {
            ledger.add(entry(name, verdict));
        }
        let found = |name, print| ledger.find_good("boot", name, print).map(|entry| entry.verdict);
        assert_eq!([found("a", "f"), found("d", "f")], [Some(Verdict::Kept); 2]);
        assert_eq!([found("a", "g"), found("b", "f"), found("c", "f"), found("e", "f")], [None; 4]);
        assert_eq!(ledger.find_good("faults", "a", "f"), None);
        // A later failure takes the place of the good result.
        ledger.add(entry("a", Verdict::Failed));
        assert_eq!(ledger.find_good("boot", "a", "f"), None);
        assert_eq!(ledger.cases.len(), 4);
    }

    #[test]
    fn a_ledger_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/ledger.json");
        assert_eq!(Ledger::load(&path).unwrap(), Ledger::default());
        let mut ledger = Ledger::default();
        ledger.add(Entry { waits: vec![(4.0, "x".to_owned()), (9.5, "y".to_owned())], ..entry("a", Verdict::Passed) });
        ledger.save(&path).unwrap();
        let read = Ledger::load(&path).unwrap();
        assert_eq!(read.cases, ledger.cases);
        assert_eq!(read.cases[0].waits[0].1, "y", "the longest first");
        std::fs::write(&path, r#"{"format": 0, "cases": []}"#).unwrap();
        assert_eq!(Ledger::load(&path).unwrap(), Ledger::default());
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Ledger::load(&path).is_err());
    }

    #[test]
    fn nothing_is_left_out_of_the_summary() {
        let mut ledger = Ledger::default();
        ledger.add(entry("a", Verdict::Passed));
        ledger.add(Entry { repeats: vec!["emulator error: x".to_owned()], ..entry("b", Verdict::Failed) });
        ledger.add(Entry { waits: vec![(61.5, "a disk".to_owned())], control: true, ..entry("c", Verdict::Passed) });
        ledger.add(Entry { skips: vec!["virtio-io: none here".to_owned()], ..entry("d", Verdict::Kept) });
        ledger.add(Entry::unrun("stress", "e", "no rt kernel given"));
        let lines = ledger.summary();
        for wanted in [
            "# boot                3      1       1       0     10.0",
            "# stress              0      0       0       1      0.0",
            "# kept from an earlier run: 1",
            "# controls, in which a check must fail: 1",
            "# repeated boots: 1, without proof that the emulator broke them: 0",
            "#   boot/b: emulator error: x",
            "# long waits: 1, 62 s altogether",
            "#   61.5 s, boot/c: a disk",
            "# skipped checks: 1",
            "#   1 for \"none here\"",
            "# cases not run: 1",
            "#   no rt kernel given: stress/e",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted:?} is not among {lines:#?}");
        }
    }
}
