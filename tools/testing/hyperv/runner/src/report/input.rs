// SPDX-License-Identifier: GPL-2.0
//! What there is to report: the ledger of the last run, what guests said, and what became of mutants.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{bail, Context, Result};
use serde::de::DeserializeOwned;
use serde::Deserialize;

use crate::cli::ReportArgs;
use crate::console::message;
use crate::ledger::Ledger;

/// Name of a guest's console log.
const CONSOLE: &str = "serial.log";

/// A change that breaks something on purpose, and who noticed.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// Name.
    pub name: String,
    /// Of the kernel's code, of the emulator's, or made by cargo-mutants.
    pub kind: String,
    /// What it breaks.
    #[serde(default)]
    pub breaks: String,
    /// `noticed`, or what else became of it.
    pub status: String,
    /// The test that noticed.
    #[serde(default)]
    pub noticed_by: String,
}

impl Mutant {
    /// Whether a test noticed.
    pub fn is_noticed(&self) -> bool {
        self.status == "noticed"
    }
}

/// What the guest program says of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// It is as stated.
    Yes,
    /// It is not, or the attack could not be tried.
    No,
}

/// An attack, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// The boot in which it was tried.
    pub boot: String,
    /// Its name.
    pub id: String,
    /// What is right.
    pub expected: String,
    /// What was seen.
    pub got: String,
    /// Whether the guest program takes that for right.
    pub verdict: Right,
    /// Bytes that changed or leaked, the fault, as the guest says it.
    pub detail: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Cases of the last run.
    pub ledger: Ledger,
    /// Attacks in the logs.
    pub attacks: Vec<Attack>,
    /// Cells of the fault matrix: by boot, how many were right and how many not.
    pub cells: BTreeMap<String, (usize, usize)>,
    /// Transfers to an unmapped address that reached memory: microseconds of the guest since the unmap, by boot.
    pub windows: BTreeMap<String, Vec<u64>>,
    /// Mutants.
    pub mutants: Vec<Mutant>,
}

/// Reads JSON; a file that is not there is nothing.
fn json<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T> {
    let Some(path) = path.filter(|path| path.is_file()) else { return Ok(T::default()) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

impl Input {
    /// Reads what there is.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be, and when there is nothing at all.
    pub fn read(args: &ReportArgs) -> Result<Input> {
        let mut input = Input {
            ledger: args.ledger.as_deref().map_or(Ok(Ledger::default()), Ledger::load)?,
            mutants: json(args.mutants.as_deref())?,
            ..Input::default()
        };
        if args.logs.is_dir() {
            input.logs(&args.logs)?;
        }
        if input.ledger.cases.is_empty()
            && input.mutants.is_empty()
            && input.attacks.is_empty()
            && input.cells.is_empty()
        {
            bail!("nothing to report: run the tests first");
        }
        Ok(input)
    }

    /// Reads the consoles of all guests below a directory: `SUITE/CASE/serial.log`.
    fn logs(&mut self, logs: &Path) -> Result<()> {
        for item in walkdir::WalkDir::new(logs).sort_by_file_name() {
            let item = item?;
            if item.file_name() != CONSOLE {
                continue;
            }
            let directory = item.path().parent().and_then(|directory| directory.strip_prefix(logs).ok());
            let boot = directory.map(|directory| directory.display().to_string()).unwrap_or_default();
            let text = std::fs::read(item.path()).with_context(|| item.path().display().to_string())?;
            for line in String::from_utf8_lossy(&text).lines() {
                if let Some(remark) = hvprotocol::report::remark(message(line.trim_end())) {
                    self.remark(&boot, remark);
                }
            }
        }
        Ok(())
    }

    /// Takes what a guest remarked: an attack, a cell of the matrix, or a window.
    fn remark(&mut self, boot: &str, remark: &str) {
        if let Some(words) = remark.strip_prefix("attack ") {
            let words: Vec<&str> = words.splitn(5, ' ').collect();
            let [id, expected, got, verdict, detail @ ..] = words.as_slice() else { return };
            let verdict = if *verdict == "right" { Right::Yes } else { Right::No };
            let [id, expected, got] = [id, expected, got].map(|word| (*word).to_owned());
            self.attacks.push(Attack { boot: boot.to_owned(), id, expected, got, verdict, detail: detail.concat() });
        } else if remark.starts_with("cell ") {
            let (right, wrong) = self.cells.entry(boot.to_owned()).or_default();
            if remark.ends_with(": ok") {
                *right += 1;
            } else if remark.contains(": FAILED") {
                *wrong += 1;
            }
        } else if let Some(sample) = remark.strip_prefix("window ") {
            // How long after the unmap a transfer was tried, and whether it reached memory.
            let Some((microseconds, "reaches")) = sample.split_once(' ') else { return };
            if let Ok(microseconds) = microseconds.parse() {
                self.windows.entry(boot.to_owned()).or_default().push(microseconds);
            }
        }
    }

    /// One line.
    pub fn summary(&self) -> String {
        let cells: usize = self.cells.values().map(|(right, wrong)| right + wrong).sum();
        format!(
            "{} cases, {} attacks, {cells} cells, {} mutants",
            self.ledger.cases.len(),
            self.attacks.len(),
            self.mutants.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Entry;

    #[test]
    fn logs_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let case = directory.path().join("attack/strict");
        std::fs::create_dir_all(&case).unwrap();
        let log = "[    1.0] hvtest:     # attack read-behind-4k reaches blocked wrong bytes=0 fault=yes\r\n\
            [    1.1] hvtest: # attack odd\n[    1.2] hvtest:     # window 812 reaches\n[    1.2] hvtest: # window 15411 blocked\n[    1.3] hvtest: # cell create:5: blocked: ok\n\
            [    1.4] hvtest: # cell create:6: FAILED: no message\n[    1.5] other: # window 1\n";
        std::fs::write(case.join("serial.log"), log).unwrap();
        let mut input = Input::default();
        input.logs(directory.path()).unwrap();
        let attack = Attack {
            boot: "attack/strict".to_owned(),
            id: "read-behind-4k".to_owned(),
            expected: "reaches".to_owned(),
            got: "blocked".to_owned(),
            verdict: Right::No,
            detail: "bytes=0 fault=yes".to_owned(),
        };
        assert_eq!(input.attacks, [attack]);
        assert_eq!(input.windows["attack/strict"], [812]);
        assert_eq!(input.cells["attack/strict"], (1, 1));
        assert_eq!(input.summary(), "0 cases, 1 attacks, 2 cells, 0 mutants");
    }

    #[test]
    fn nothing_is_an_error_and_so_is_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ledger.json");
        let args = ReportArgs {
            ledger: Some(file.clone()),
            logs: directory.path().join("none"),
            mutants: None,
            output: directory.path().join("out.html"),
        };
        assert!(Input::read(&args).is_err());
        let mut ledger = Ledger::default();
        ledger.add(Entry::unrun("boot", "dma", "no kernel"));
        ledger.save(&file).unwrap();
        assert_eq!(Input::read(&args).unwrap().ledger.cases, ledger.cases);
        std::fs::write(&file, "[1]").unwrap();
        assert!(Input::read(&args).is_err());
    }
}
