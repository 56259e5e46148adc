// SPDX-License-Identifier: GPL-2.0
//! From a guest's logs to passed or failed.

use anyhow::{Context, Result};
use regex::Regex;

use crate::boot::{End, Record};
use crate::console::message;
use crate::expect::{judge, Expectation};
use crate::ktap::{Parser, Report, Status, Test};
use crate::splat::Detector;
use crate::trace::without_reports_through;

/// Prefix of the guest program's report.
const GUEST: &str = "hvtest: ";
/// The guest program's last line.
const TOTALS: &str = "# Totals: ";
/// The kernel's last line.
const POWER_DOWN: &str = "reboot: Power down";
/// Splats named in a complaint.
const SPLATS_SHOWN: usize = 3;

/// A check that may be skipped for a reason, as long as it gives that reason.
#[derive(Clone, Debug)]
pub struct Excuse {
    /// Pattern for the check's whole name.
    pub check: String,
    /// Pattern for the reason.
    pub reason: String,
}

/// Which results are right.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// About the kernel log.
    pub log: Vec<Expectation>,
    /// Checks of the guest program that must fail (tests of the tests); all others must not.
    pub failing: Vec<String>,
    /// Checks of the guest program that may be skipped; all others may not.
    pub skippable: Vec<String>,
    /// The same by pattern, for one reason each.
    pub excuses: Vec<Excuse>,
    /// Patterns of splats that are part of the test.
    pub splats: Vec<String>,
    /// Functions whose appearance in a report's call trace makes the report part of the test.
    pub known_callers: Vec<String>,
    /// Reports besides the first one: those of kernels that this one leaves for, in the same boot.
    pub more_reports: usize,
    /// Patterns that must each match a test which the kernel's own tests report.
    pub kernel_tests: Vec<String>,
}

/// The verdict on one boot.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The guest program's checks.
    pub guest: Report,
    /// The kernel's own tests (KUnit).
    pub kernel: Report,
    /// What is wrong, one sentence each; empty when all is well.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// Judges a boot.
///
/// # Errors
/// When one of the demands is no regular expression.
pub fn verdict(record: &Record, demands: &Demands) -> Result<Verdict> {
    let detector = Detector::new(&demands.splats).context("expected splats")?;
    let messages: Vec<&str> = record.serial.iter().map(|line| message(line)).collect();
    let (mut guest, mut kernel) = (Parser::new(), Parser::new());
    let mut complaints = match &record.end {
        End::Exited => Vec::new(),
        End::QemuFailed(words) => vec![format!("QEMU failed: {words}")],
        End::Silent(limit) => vec![format!("no output for {} s, see state.log", limit.as_secs())],
        End::TimedOut(limit) => vec![format!("not finished after {} s, see state.log", limit.as_secs())],
    };
    let mut totals = 0;
    for text in &messages {
        match text.strip_prefix(GUEST) {
            Some(line) => {
                totals += usize::from(line.starts_with(TOTALS));
                if let Some(reason) = line.strip_prefix("# Bail out! ") {
                    complaints.push(format!("the guest program gave up: {reason}"));
                }
                guest.line(line);
            }
            None => {
                kernel.line(text);
            }
        }
    }
    let (guest, kernel) = (guest.finish(), kernel.finish());
    let reports = 1 + demands.more_reports;
    if totals == 0 {
        complaints.push("the guest program did not finish".to_owned());
    } else if totals != reports {
        complaints.push(format!("{totals} of {reports} kernels reported to the end"));
    } else if !messages.iter().any(|m| m.ends_with(POWER_DOWN)) {
        complaints.push("the guest did not power down".to_owned());
    }
    complaints.extend(guest_complaints(&guest, demands)?);
    complaints.extend(kernel_complaints(&kernel, demands)?);
    complaints.extend(splat_complaints(&detector, &without_reports_through(&messages, &demands.known_callers)));
    // The guest's own check sees no violations after it, at shutdown for one.
    let alarming = |line: &&String| line.contains("panicked at") || line.contains("] violation: ");
    complaints.extend(record.hypervisor.iter().filter(alarming).map(|line| format!("minihv: {line}")));
    complaints.extend(judge(&demands.log, &messages).context("expectations")?);
    Ok(Verdict { guest, kernel, complaints })
}

/// Whether one of the excuses holds for a skipped check.
fn excused(test: &Test, excuses: &[Excuse]) -> Result<bool> {
    for Excuse { check, reason } in excuses {
        if Regex::new(&format!("^(?:{check})$")).context("excuses")?.is_match(&test.name)
            && Regex::new(reason).context("excuses")?.is_match(&test.detail)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn guest_complaints(report: &Report, demands: &Demands) -> Result<Vec<String>> {
    let mut complaints = report.problems.clone();
    for test in &report.tests {
        let (name, detail) = (&test.name, &test.detail);
        match test.status {
            Status::Fail if !demands.failing.contains(name) => complaints.push(format!("{name}: {detail}")),
            Status::Pass if demands.failing.contains(name) => complaints.push(format!("{name} passed but must fail")),
            Status::Skip if !demands.skippable.contains(name) && !excused(test, &demands.excuses)? => {
                complaints.push(format!("{name} skipped: {detail}"));
            }
            Status::Pass | Status::Fail | Status::Skip => {}
        }
    }
    let missing = demands.failing.iter().filter(|name| !report.tests.iter().any(|t| &t.name == *name));
    complaints.extend(missing.map(|name| format!("{name} did not run")));
    Ok(complaints)
}

fn kernel_complaints(report: &Report, demands: &Demands) -> Result<Vec<String>> {
    let mut complaints: Vec<String> = report.problems.iter().map(|p| format!("KUnit: {p}")).collect();
    let failing = report.tests.iter().filter(|t| t.status == Status::Fail);
    complaints.extend(failing.map(|t| format!("KUnit: {} failed", t.name)));
    for pattern in &demands.kernel_tests {
        let regex = Regex::new(pattern).context("kernel tests")?;
        if !report.tests.iter().any(|t| regex.is_match(&t.name)) {
            complaints.push(format!("KUnit: no test matches {pattern:?}"));
        }
    }
    Ok(complaints)
}

fn splat_complaints(detector: &Detector, messages: &[&str]) -> Vec<String> {
    // The guest program's lines quote what they like.
    let found: Vec<&&str> = messages.iter().filter(|m| crate::expect::counts(m) && detector.is_splat(m)).collect();
    let mut complaints: Vec<String> = found.iter().take(SPLATS_SHOWN).map(|m| format!("kernel log: {m}")).collect();
    if found.len() > SPLATS_SHOWN {
        complaints.push(format!("and {} more such lines", found.len() - SPLATS_SHOWN));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Logs;
    use std::path::Path;
    use std::time::Duration;

    const GOOD: &str =
        "[    0.100000] KTAP version 1\n[    0.100000] 1..1\n[    0.1]     # Subtest: hv_pviommu_flush\n\
        [    0.1]     1..1\n[    0.1]     ok 1 corners\n[    0.1] ok 1 hv_pviommu_flush\n\
        [    1.000000] hvtest: KTAP version 1\n[    1.000000] hvtest: 1..2\n[    1.1] hvtest: ok 1 a # fine\n\
        [    1.2] hvtest: ok 2 b\n[    1.3] hvtest: # Totals: pass:2 fail:0 skip:0\n[    1.4] reboot: Power down";

    fn record(serial: &str, end: End) -> Record {
        Record {
            end,
            serial: serial.lines().map(str::to_owned).collect(),
            hypervisor: Vec::new(),
            logs: Logs::new(Path::new("/logs")),
            elapsed: Duration::ZERO,
        }
    }

    fn complaints(serial: &str, demands: &Demands) -> Vec<String> {
        verdict(&record(serial, End::Exited), demands).unwrap().complaints
    }

    #[test]
    fn a_good_boot_passes() {
        let demands = Demands { kernel_tests: vec!["^hv_pviommu".to_owned()], ..Demands::default() };
        let verdict = verdict(&record(GOOD, End::Exited), &demands).unwrap();
        assert_eq!(verdict.complaints, Vec::<String>::new());
        assert_eq!((verdict.guest.tests.len(), verdict.kernel.tests.len()), (2, 1));
    }

    #[test]
    fn every_kind_of_trouble_is_seen() {
        let none = Demands::default();
        assert_eq!(verdict(&record(GOOD, End::Silent(Duration::from_secs(9))), &none).unwrap().complaints.len(), 1);
        assert_eq!(complaints(&GOOD.replace("ok 2 b", "not ok 2 b # broken"), &none), ["b: broken"]);
        assert_eq!(complaints(&GOOD.replace("ok 2 b", "ok 2 b # SKIP none"), &none), ["b skipped: none"]);
        assert_eq!(complaints(&GOOD.replace("[    1.2] hvtest: ok 2 b\n", ""), &none), ["the report: 1 of 2 results"]);
        assert_eq!(complaints(&GOOD.replace("reboot: Power down", ""), &none).len(), 1);
        assert_eq!(complaints(&GOOD.replace("# Totals", "# Tot"), &none).len(), 1);
        assert_eq!(complaints(&GOOD.replace("    ok 1 corners", "    not ok 1 corners"), &none).len(), 1);
        assert_eq!(complaints(&format!("{GOOD}\n[    2.0] BUG: bad thing"), &none).len(), 1);
        let wanted = Demands { kernel_tests: vec!["^other".to_owned()], ..Demands::default() };
        assert_eq!(complaints(GOOD, &wanted).len(), 1);
    }

    #[test]
    fn an_excuse_holds_for_its_reason_only() {
        let skipped = GOOD.replace("ok 2 b", "ok 2 b # SKIP no such device");
        let excused = |check: &str, reason: &str| {
            let excuses = vec![Excuse { check: check.to_owned(), reason: reason.to_owned() }];
            complaints(&skipped, &Demands { excuses, ..Demands::default() }).len()
        };
        assert_eq!([excused("b", "no such"), excused("b", "other"), excused("", "no such")], [0, 1, 1]);
        let broken = vec![Excuse { check: "(".to_owned(), reason: String::new() }];
        let demands = Demands { excuses: broken, ..Demands::default() };
        assert!(verdict(&record(&skipped, End::Exited), &demands).is_err());
    }

    #[test]
    fn every_kernel_of_a_boot_must_report() {
        let second = GOOD.split_once("[    1.000000] hvtest: KTAP").unwrap().1;
        let both = format!("{GOOD}\n[    0.0] hvtest: KTAP{second}");
        let two = Demands { more_reports: 1, ..Demands::default() };
        assert_eq!(complaints(&both, &two), Vec::<String>::new());
        assert_eq!(complaints(&both, &Demands::default()), ["2 of 1 kernels reported to the end"]);
        assert_eq!(complaints(GOOD, &two), ["1 of 2 kernels reported to the end"]);
        let broken = both.replacen("ok 2 b", "not ok 2 b # broken", 1);
        assert_eq!(complaints(&broken, &two), ["b: broken"]);
    }

    #[test]
    fn violations_are_seen_without_the_guest() {
        let mut record = record(GOOD, End::Exited);
        record.hypervisor = ["[1.0] violation: ATS", "[2.0] counter violations 1"].map(str::to_owned).to_vec();
        assert_eq!(verdict(&record, &Demands::default()).unwrap().complaints, ["minihv: [1.0] violation: ATS"]);
    }

    #[test]
    fn a_test_of_the_tests_wants_its_failure() {
        let demands = Demands { failing: vec!["b".to_owned()], ..Demands::default() };
        assert_eq!(complaints(GOOD, &demands), ["b passed but must fail"]);
        assert_eq!(complaints(&GOOD.replace("ok 2 b", "not ok 2 b"), &demands), Vec::<String>::new());
        let absent = Demands { failing: vec!["c".to_owned()], ..Demands::default() };
        assert_eq!(complaints(GOOD, &absent), ["c did not run"]);
    }
}
