// SPDX-License-Identifier: GPL-2.0
//! What is left of a guest when it has ended.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::qemu::{Logs, Threads};

/// How minihv reports that the emulator broke a boot. A guest whose processors have a thread each may also lose an interrupt, and hang; see
/// [`Threads::Single`].
const EMULATOR_ERROR: &str = "emulator error: ";

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ended by itself, with success.
    Exited,
    /// QEMU ended with another status.
    QemuFailed(String),
    /// No new output for too long.
    Silent(Duration),
    /// Took too long altogether.
    TimedOut(Duration),
    /// A check failed, and nobody wanted to know more: the check's line.
    Failed(String),
}

/// What is left of a guest.
#[derive(Clone, Debug)]
pub struct Record {
    /// How it ended.
    pub end: End,
    /// All lines of its console.
    pub serial: Vec<String>,
    /// All lines of the hypervisor's log.
    pub hypervisor: Vec<String>,
    /// Where the logs are.
    pub logs: Logs,
    /// From the start of QEMU to its end.
    pub elapsed: Duration,
    /// Why boots before this one were thrown away, one by one.
    pub repeats: Vec<String>,
}

impl Record {
    /// What minihv says when QEMU did not do what a processor does, or that a guest hung in the way in which QEMU makes
    /// guests hang whose processors have a thread each.
    pub fn emulator_error(&self, threads: Threads) -> Option<String> {
        let said =
            self.hypervisor.iter().find_map(|line| line.find(EMULATOR_ERROR).map(|start| line[start..].to_owned()));
        match (&self.end, threads) {
            (End::Silent(limit), Threads::Multi) => {
                said.or_else(|| Some(format!("no output for {} s, with a thread for each processor", limit.as_secs())))
            }
            _ => said,
        }
    }
}

impl End {
    /// What the end of QEMU means.
    pub fn of(status: ExitStatus, qemu_log: &Path) -> End {
        if status.success() {
            return End::Exited;
        }
        // What QEMU said last is nearly always the reason.
        let words = fs::read_to_string(qemu_log).unwrap_or_default();
        End::QemuFailed(format!("{status}: {}", words.lines().last().unwrap_or("no message")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(end: End, hypervisor: &[&str]) -> Record {
        Record {
            end,
            serial: Vec::new(),
            hypervisor: hypervisor.iter().map(|line| (*line).to_owned()).collect(),
            logs: Logs::new(Path::new("/logs")),
            elapsed: Duration::ZERO,
            repeats: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_emulator_broke_is_repeated() {
        let said = ["[1.0] minihv: emulator error: vp 1 ran the hypervisor's own code"];
        let silent = End::Silent(Duration::from_secs(120));
        let errors = |end: &End, lines: &[&str]| {
            let record = record(end.clone(), lines);
            [Threads::Single, Threads::Multi].map(|threads| record.emulator_error(threads).is_some())
        };
        assert_eq!(errors(&End::Exited, &[]), [false, false]);
        assert_eq!(errors(&End::Exited, &said), [true, true]);
        assert_eq!(errors(&silent, &[]), [false, true]);
        assert_eq!(errors(&End::TimedOut(Duration::ZERO), &[]), [false, false]);
        let text = record(End::Exited, &said).emulator_error(Threads::Single);
        assert_eq!(text.as_deref(), Some("emulator error: vp 1 ran the hypervisor's own code"));
    }
}
