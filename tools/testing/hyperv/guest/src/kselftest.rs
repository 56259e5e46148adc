// SPDX-License-Identifier: GPL-2.0
//! The kernel's own test programs: running one, and passing on its KTAP test by test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{anyhow, bail, Context, Result};

use crate::report::{Outcome, Reporter};

/// Where the runner packs the programs.
const DIRECTORY: &str = "/kselftest";
/// How a program ends that could not be tried at all.
const EXIT_SKIP: i32 = 4;
/// So many of the last lines that were no results explain a failure.
const WORDS_KEPT: usize = 6;

/// A line of a program.
#[derive(Debug)]
enum Line<'a> {
    /// Number of tests.
    Plan(usize),
    /// There is nothing to test; why.
    Nothing(&'a str),
    /// A test's name and its result; a failure comes without an explanation.
    Test(&'a str, Option<Outcome>),
    /// Anything else.
    Words(&'a str),
}

/// Tells a program's lines apart.
fn parse(line: &str) -> Line<'_> {
    if let Some(reason) = line.strip_prefix("1..0 # SKIP ") {
        return Line::Nothing(reason);
    }
    if let Some(count) = line.strip_prefix("1..").and_then(|count| count.parse().ok()) {
        return Line::Plan(count);
    }
    let (is_ok, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Line::Words(line),
    };
    let Some((number, rest)) = rest.split_once(' ') else { return Line::Words(line) };
    if number.parse::<usize>().is_err() {
        return Line::Words(line);
    }
    let (name, detail) = rest.split_once(" # ").unwrap_or((rest, ""));
    let detail = detail.trim();
    let outcome = match detail.split_once(' ').unwrap_or((detail, "")) {
        _ if !is_ok => None,
        // A test that unexpectedly passes is one that somebody has to look at.
        ("XPASS", _) => None,
        ("SKIP", reason) => Some(Outcome::Skip(reason.trim().to_owned())),
        ("XFAIL", reason) => Some(Outcome::Skip(format!("known to fail: {}", reason.trim()))),
        _ => Some(Outcome::Pass(detail.to_owned())),
    };
    Line::Test(name.trim(), outcome)
}

/// What a program has reported so far.
#[derive(Debug, Default)]
struct Progress {
    planned: Option<usize>,
    passed: usize,
    skipped: usize,
    failed: usize,
    /// The last lines that were no results.
    words: Vec<String>,
}

impl Progress {
    fn seen(&self) -> usize {
        self.passed + self.skipped + self.failed
    }

    /// Keeps a line that may explain what comes.
    fn keep(&mut self, words: &str) {
        let words = words.trim_start_matches('#').trim();
        if words.starts_with("RUN ") {
            self.words.clear();
        } else if !words.is_empty() && !words.starts_with("FAIL ") {
            self.words.push(words.to_owned());
        }
        let surplus = self.words.len().saturating_sub(WORDS_KEPT);
        self.words.drain(..surplus);
    }

    /// Takes a line, and passes it on.
    fn line(&mut self, name: &str, line: &str, reporter: &mut Reporter) {
        match parse(line) {
            Line::Plan(count) if self.planned.is_none() => {
                self.planned = Some(count);
                reporter.enter(name, count);
            }
            Line::Test(test, outcome) if self.planned.is_some() => {
                match &outcome {
                    Some(Outcome::Pass(_)) => self.passed += 1,
                    Some(Outcome::Skip(_)) => self.skipped += 1,
                    None => self.failed += 1,
                }
                let result = outcome.ok_or_else(|| anyhow!("{}", self.words.join("; ")));
                reporter.result(self.seen(), test, &result);
                self.words.clear();
            }
            Line::Nothing(reason) => self.keep(reason),
            Line::Plan(_) | Line::Test(..) => self.keep(line),
            Line::Words(words) => {
                self.keep(words);
                if !words.trim().is_empty() {
                    reporter.note(words.trim_start_matches('#').trim());
                }
            }
        }
    }

    /// What the program as a whole comes to.
    fn end(&self, status: ExitStatus) -> Result<Outcome> {
        let Progress { passed, skipped, failed, .. } = self;
        let words = self.words.join("; ");
        match self.planned {
            None if status.code() == Some(EXIT_SKIP) => return Ok(Outcome::Skip(words)),
            None => bail!("no tests: {status}: {words}"),
            Some(planned) if planned != self.seen() => {
                bail!("{} of {planned} results: {status}: {words}", self.seen())
            }
            Some(0) => bail!("no tests"),
            Some(_) => {}
        }
        if *failed > 0 {
            bail!("{failed} tests failed, {passed} passed, {skipped} skipped");
        }
        if !status.success() {
            bail!("{status} without a failed test: {words}");
        }
        let counts = format!("{passed} tests passed, {skipped} skipped");
        Ok(if *passed > 0 { Outcome::Pass(counts) } else { Outcome::Skip(counts) })
    }
}

/// Runs a program, for the device with the address `device` where it wants one. Its tests are reported one level below
/// the current one, in the suite `suite`.
///
/// # Errors
/// When it is not there, a test fails, or it ends in another way than its results say.
pub fn run(
    reporter: &mut Reporter,
    suite: &str,
    program: &str,
    arguments: &[&str],
    device: Option<&str>,
) -> Result<Outcome> {
    let path = Path::new(DIRECTORY).join(program);
    // One pipe for both streams keeps their lines in order.
    let (reader, writer) = nix::unistd::pipe().context("pipe")?;
    let mut command = Command::new(&path);
    command.args(arguments).stdout(writer.try_clone().context("pipe")?).stderr(writer);
    if let Some(address) = device {
        command.env("VFIO_SELFTESTS_BDF", address).env("HV_PVIOMMU_BDF", address);
    }
    let mut child = command.spawn().with_context(|| path.display().to_string())?;
    // It holds the writing end, by which the reader would wait for ever.
    drop(command);
    let depth = reporter.depth();
    let mut progress = Progress::default();
    for line in BufReader::new(File::from(reader)).split(b'\n') {
        let line = line.with_context(|| path.display().to_string())?;
        progress.line(suite, &String::from_utf8_lossy(&line), reporter);
    }
    reporter.leave(depth);
    progress.end(child.wait().with_context(|| path.display().to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn outcome(lines: &[&str], code: i32) -> Result<Outcome> {
        let mut reporter = Reporter::to_stdout();
        let mut progress = Progress::default();
        for line in lines {
            progress.line("program", line, &mut reporter);
        }
        progress.end(ExitStatus::from_raw(code << 8))
    }

    fn text(result: Result<Outcome>) -> String {
        match result {
            Ok(Outcome::Pass(text)) => format!("pass: {text}"),
            Ok(Outcome::Skip(text)) => format!("skip: {text}"),
            Err(error) => format!("fail: {error:#}"),
        }
    }

    #[test]
    fn tests_are_counted() {
        let good =
            ["TAP version 13", "1..2", "#  RUN  a.b ...", "#    OK  a.b", "ok 1 a.b", "ok 2 a.c # SKIP no pages"];
        assert_eq!(text(outcome(&good, 0)), "pass: 1 tests passed, 1 skipped");
        assert!(text(outcome(&good, 1)).starts_with("fail: "));
        assert_eq!(text(outcome(&["1..1", "ok 1 a # SKIP none"], 0)), "skip: 0 tests passed, 1 skipped");
        assert_eq!(text(outcome(&["1..1", "not ok 1 a"], 1)), "fail: 1 tests failed, 0 passed, 0 skipped");
        assert!(text(outcome(&["1..1", "ok 1 a # XPASS "], 0)).starts_with("fail: "));
        assert!(text(outcome(&["1..1", "ok 1 a # XFAIL slow"], 0)).starts_with("skip: "));
    }

    #[test]
    fn a_program_that_breaks_off_fails() {
        assert!(text(outcome(&["1..2", "ok 1 a"], 0)).starts_with("fail: 1 of 2 results"));
        assert!(text(outcome(&["x.c:1: Assertion Failure"], 1)).ends_with("x.c:1: Assertion Failure"));
        assert!(text(outcome(&["1..0"], 0)).starts_with("fail: "));
        assert_eq!(text(outcome(&["1..0 # SKIP no VFs"], EXIT_SKIP)), "skip: no VFs");
        assert_eq!(text(outcome(&["No driver found"], EXIT_SKIP)), "skip: No driver found");
    }

    #[test]
    fn the_words_before_a_failure_explain_it() {
        let mut progress = Progress::default();
        for line in ["# old", "#  RUN  a ...", "x.c:1: Assertion Failure", "", "  Observed: 1 == 2", "#  FAIL  a"] {
            progress.keep(line);
        }
        assert_eq!(progress.words, ["x.c:1: Assertion Failure", "Observed: 1 == 2"]);
    }
}
