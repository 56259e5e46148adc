// SPDX-License-Identifier: GPL-2.0
//! KTAP, one line per write, through the kernel log.
//!
//! The console carries the kernel's own lines too; going through `/dev/kmsg` keeps every line whole. The prefix tells
//! the runner these lines from those that the kernel's tests print.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hvprotocol::figure;
use hvprotocol::report::{Wait, BAIL_OUT, PREFIX, TOTALS};

/// The kernel log, once the report goes there.
static KERNEL_LOG: OnceLock<File> = OnceLock::new();

/// A wait that is longer than this is reported.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// Longest text in one kernel log record, in bytes (the kernel's limit is 1024 with its own decoration).
const LINE_MAX: usize = 800;

/// What a nested report is indented by.
const INDENT: &str = "    ";

/// How a check ended when nothing went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed; a few words on what was seen.
    Pass(String),
    /// Could not be tried; why.
    Skip(String),
}

/// Passed and skipped and failed checks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Could not be tried.
    pub skipped: usize,
}

/// Where the report goes.
pub struct Reporter {
    kernel_log: Option<File>,
    tally: Tally,
    /// How many reports are open inside the outermost one.
    depth: usize,
}

impl Reporter {
    /// Reports into the kernel log, or to standard output where that cannot be opened.
    pub fn to_kernel_log() -> Reporter {
        let kernel_log = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        if let Some(Ok(log)) = kernel_log.as_ref().map(File::try_clone) {
            // Only one report goes to the kernel log; a second one would share its file.
            let _ = KERNEL_LOG.set(log);
        }
        Reporter { kernel_log, tally: Tally::default(), depth: 0 }
    }

    /// Reports to standard output.
    pub fn to_stdout() -> Reporter {
        Reporter { kernel_log: None, tally: Tally::default(), depth: 0 }
    }

    fn line(&mut self, text: &str) {
        let prefix = if self.kernel_log.is_some() { PREFIX } else { "" };
        self.write(&format!("{prefix}{}{text}", INDENT.repeat(self.depth)));
    }

    fn write(&mut self, text: &str) {
        let clean = clean(text);
        let written = match &mut self.kernel_log {
            // One write is one record; <6> is KERN_INFO.
            Some(log) => log.write_all(format!("<6>{clean}\n").as_bytes()),
            None => writeln!(std::io::stdout(), "{clean}"),
        };
        if written.is_err() {
            self.kernel_log = None;
        }
    }

    /// Starts a report of `count` checks.
    pub fn plan(&mut self, count: usize) {
        self.line("KTAP version 1");
        self.line(&format!("1..{count}"));
    }

    /// Starts the report of `count` tests that the next result of the current report consists of. They count one by
    /// one for the runner, but not in the totals of the checks.
    pub fn enter(&mut self, name: &str, count: usize) {
        self.depth += 1;
        self.line("KTAP version 1");
        self.line(&format!("# Subtest: {name}"));
        self.line(&format!("1..{count}"));
    }

    /// How many reports are open inside the outermost one.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Ends every report that was entered since [`Reporter::depth`] was `depth`.
    pub fn leave(&mut self, depth: usize) {
        self.depth = depth;
    }

    /// A diagnostic line.
    pub fn note(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }

    /// Tells why there is no report to come.
    pub fn bail_out(&mut self, error: &anyhow::Error) {
        self.note(&format!("{BAIL_OUT}{error:#}"));
    }

    /// A figure that was measured, on a line of its own.
    pub fn figure(&mut self, figure: &impl Display) {
        self.write(&format!("{}{figure}", figure::PREFIX));
    }

    /// The result of check number `number` (from 1).
    pub fn result(&mut self, number: usize, name: &str, result: &anyhow::Result<Outcome>) {
        let mut nested = Tally::default();
        let tally = if self.depth == 0 { &mut self.tally } else { &mut nested };
        let line = match result {
            Ok(Outcome::Pass(detail)) => {
                tally.passed += 1;
                if detail.is_empty() {
                    format!("ok {number} {name}")
                } else {
                    format!("ok {number} {name} # {detail}")
                }
            }
            Ok(Outcome::Skip(reason)) => {
                tally.skipped += 1;
                format!("ok {number} {name} # SKIP {reason}")
            }
            Err(error) => {
                tally.failed += 1;
                format!("not ok {number} {name} # {error:#}")
            }
        };
        self.line(&line);
    }

    /// Ends the report; the runner takes a report without this line for a crash.
    pub fn finish(&mut self) -> Tally {
        let Tally { passed, failed, skipped } = self.tally;
        self.line(&format!("{TOTALS}pass:{passed} fail:{failed} skip:{skipped}"));
        self.tally
    }
}

/// A text as one line of the kernel log.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_MAX).collect()
}

/// A diagnostic line of the report, from code that has no [`Reporter`] at hand. Outside of a test boot it goes to
/// standard output.
pub fn remark(text: &str) {
    let clean = clean(text);
    match KERNEL_LOG.get() {
        // One write is one record, whichever thread makes it. A line that is lost is missed by the runner.
        Some(mut log) => drop(log.write_all(format!("<6>{PREFIX}# {clean}\n").as_bytes())),
        None => println!("# {clean}"),
    }
}

/// Reports a wait for `what` that began at `start`, if it was a long one.
pub fn remark_wait(start: Instant, what: &str) {
    if let Some(wait) = long_wait(start.elapsed(), what) {
        remark(&wait.to_string());
    }
}

fn long_wait(waited: Duration, what: &str) -> Option<Wait> {
    (waited > LONG_WAIT).then(|| Wait { seconds: waited.as_secs_f64(), what: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_waits_are_told() {
        assert_eq!(long_wait(LONG_WAIT, "a disk"), None);
        let wait = long_wait(Duration::from_millis(12_340), "a disk");
        assert_eq!(wait, Some(Wait { seconds: 12.34, what: "a disk".to_owned() }));
    }
}
