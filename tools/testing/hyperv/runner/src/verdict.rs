// SPDX-License-Identifier: GPL-2.0
//! From a guest's logs to passed or failed.

use anyhow::{Context, Result};
use hvprotocol::faults::Provoked;
use hvprotocol::report::{remark, Wait, BAIL_OUT, PREFIX, TOTALS};
use regex::Regex;

use crate::console::messages;
use crate::demands::{Demands, Excuse, Failing, Reporter, Unnamed};
use crate::expect::{judge, KunitSuite};
use crate::faults;
use crate::known::{without_known_cycles, without_known_warnings, without_reports_through};
use crate::ktap::{Parser, Report, Status, Test};
use crate::lines::{self, Accounted};
use crate::record::{End, Record};
use crate::self_test;
use crate::splat::Detector;

/// How minihv's lines on the caches begin, and how one ends that says that they are not followed any longer.
const CACHE: &str = "cache: ";
const UNFOLLOWED: &str = "no longer followed";
/// The kernel's last line.
const POWER_DOWN: &str = "reboot: Power down";
/// Splats named in a complaint.
const SPLATS_SHOWN: usize = 3;
/// Lines of minihv named in complaints.
const VIOLATIONS_SHOWN: usize = 5;

/// The verdict on one boot.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The guest program's checks.
    pub guest: Report,
    /// The kernel's own tests (KUnit).
    pub kernel: Report,
    /// What is wrong, one sentence each; empty when all is well.
    pub complaints: Vec<String>,
    /// What the guest program waited for longer than usual.
    pub waits: Vec<Wait>,
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
    let own_checks = match demands.reporter {
        Reporter::Hypervisor => Some(&self_test::CHECKS[..]),
        Reporter::RootHost => Some(&self_test::ROOT_CHECKS[..]),
        Reporter::Guest => None,
    };
    if let Some(checks) = own_checks {
        let (guest, complaints) = self_test::judge(record, checks);
        return Ok(Verdict { guest, complaints, ..Verdict::default() });
    }
    let detector = Detector::new(&demands.splats).context("expected splats")?;
    let messages = messages(&record.serial);
    let (mut guest, mut kernel) = (Parser::new(), Parser::new());
    let (mut accounted, mut named) = (Accounted::default(), demands.faults.clone());
    let mut waits = Vec::new();
    let mut complaints = match &record.end {
        End::Exited => Vec::new(),
        End::QemuFailed(words) => vec![format!("QEMU failed: {words}")],
        End::Silent(limit) => vec![format!("no output for {} s, see state.log", limit.as_secs())],
        End::TimedOut(limit) => vec![format!("not finished after {} s, see state.log", limit.as_secs())],
        End::Failed(check) => vec![format!("ended at the first failure: {check}")],
    };
    let mut totals = 0;
    for text in &messages {
        match text.strip_prefix(PREFIX) {
            Some(line) => {
                totals += usize::from(line.starts_with(TOTALS));
                if let Some(remark) = remark(text) {
                    if let Some(reason) = remark.strip_prefix(BAIL_OUT) {
                        complaints.push(format!("the guest program gave up: {reason}"));
                    }
                    accounted.take(remark);
                    match Provoked::read(remark) {
                        Some(Ok(fault)) => named.push(fault),
                        Some(Err(error)) => complaints.push(error),
                        None => waits.extend(Wait::read(remark)),
                    }
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
    let messages_left = without_reports_through(&messages, &demands.known_callers);
    let messages_left = without_known_cycles(&messages_left, &demands.cycles);
    complaints.extend(splat_complaints(&detector, &without_known_warnings(&messages_left, &demands.warnings)));
    // The guest's own check sees no violations after it, at shutdown for one.
    let mut wanted = Vec::new();
    for pattern in &demands.violations {
        wanted.push((pattern, Regex::new(pattern).context("violations")?, false));
    }
    let mut unwanted = Vec::new();
    for line in &record.hypervisor {
        let violation = line.split_once("] violation: ").map(|(_, what)| what);
        let mut is_wanted = false;
        for (_, regex, seen) in &mut wanted {
            if violation.is_some_and(|what| regex.is_match(what)) {
                (is_wanted, *seen) = (true, true);
            }
        }
        if line.contains("panicked at") || violation.is_some() && !is_wanted {
            unwanted.push(line);
        }
    }
    complaints.extend(unwanted.iter().take(VIOLATIONS_SHOWN).map(|line| format!("minihv: {line}")));
    if unwanted.len() > VIOLATIONS_SHOWN {
        complaints.push(format!("minihv: and {} more such lines", unwanted.len() - VIOLATIONS_SHOWN));
    }
    let missing = wanted.iter().filter(|(_, _, seen)| !seen);
    complaints.extend(missing.map(|(pattern, _, _)| format!("minihv: no violation matches {pattern:?}")));
    complaints.extend(unfollowed_complaints(&record.hypervisor));
    let skipped: Vec<&Test> =
        guest.tests.iter().chain(&kernel.tests).filter(|test| test.status == Status::Skip).collect();
    complaints.extend(excuse_complaints(&skipped, &demands.excuses)?);
    complaints.extend(judge(&demands.log, &messages).context("expectations")?);
    if demands.unnamed == Unnamed::Fails {
        complaints.extend(lines::judge(&demands.log, &accounted, &messages).context("expectations")?);
        complaints.extend(faults::judge(&record.hypervisor, &named));
    }
    Ok(Verdict { guest, kernel, complaints, waits })
}

/// Whether one of the excuses holds for a skipped check.
fn excused(test: &Test, excuses: &[Excuse]) -> Result<bool> {
    for excuse in excuses {
        if excuses_check(excuse, test)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn excuses_check(Excuse { check, reason, .. }: &Excuse, test: &Test) -> Result<bool> {
    Ok(Regex::new(&format!("^(?:{check})$")).context("excuses")?.is_match(&test.name)
        && Regex::new(reason).context("excuses")?.is_match(&test.detail))
}

/// Excuses that held for more checks than they may, or for fewer.
fn excuse_complaints(skipped: &[&Test], excuses: &[Excuse]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for excuse in excuses {
        let mut count = 0;
        for test in skipped {
            count += usize::from(excuses_check(excuse, test)?);
        }
        if !excuse.times.allows(count) {
            let Excuse { check, reason, times } = excuse;
            complaints.push(format!("{check}: {count} were skipped for {reason:?}, right would be {times:?}"));
        }
    }
    Ok(complaints)
}

/// minihv's lines that say that it follows a domain's caches no longer: such a boot proves less than it seems to.
fn unfollowed_complaints(hypervisor: &[String]) -> impl Iterator<Item = String> + '_ {
    let lines = hypervisor.iter().filter_map(|line| line.split_once(CACHE).map(|(_, what)| what));
    lines.filter(|what| what.ends_with(UNFOLLOWED)).map(|what| format!("minihv: {CACHE}{what}"))
}

fn guest_complaints(report: &Report, demands: &Demands) -> Result<Vec<String>> {
    let mut complaints = report.problems.clone();
    for test in &report.tests {
        let (name, detail) = (&test.name, &test.detail);
        let failing = demands.failing.iter().find(|failing| failing.check == *name);
        match (test.status, failing) {
            (Status::Fail, None) => complaints.push(format!("{name}: {detail}")),
            (Status::Fail, Some(Failing { reason, .. })) => {
                if !Regex::new(reason).context("reasons")?.is_match(detail) {
                    complaints.push(format!("{name} must fail, but for another reason ({reason}): {detail}"));
                }
            }
            (Status::Pass, Some(_)) => complaints.push(format!("{name} passed but must fail")),
            (Status::Skip, Some(_)) => complaints.push(format!("{name} was skipped but must fail: {detail}")),
            (Status::Skip, None) if !demands.skippable.contains(name) && !excused(test, &demands.excuses)? => {
                complaints.push(format!("{name} skipped: {detail}"));
            }
            (Status::Pass | Status::Skip, None) => {}
        }
    }
    let missing = demands.failing.iter().filter(|f| !report.tests.iter().any(|t| t.name == f.check));
    complaints.extend(missing.map(|failing| format!("{} did not run", failing.check)));
    Ok(complaints)
}

fn kernel_complaints(report: &Report, demands: &Demands) -> Result<Vec<String>> {
    let mut complaints: Vec<String> = report.problems.iter().map(|p| format!("KUnit: {p}")).collect();
    let failing = report.tests.iter().filter(|t| t.status == Status::Fail);
    complaints.extend(failing.map(|t| format!("KUnit: {} failed", t.name)));
    for test in report.tests.iter().filter(|t| t.status == Status::Skip) {
        if !excused(test, &demands.excuses)? {
            complaints.push(format!("KUnit: {} skipped: {}", test.name, test.detail));
        }
    }
    for KunitSuite { name, tests } in &demands.kunit_suites {
        let prefix = format!("{name}.");
        match report.tests.iter().filter(|t| t.name.starts_with(&prefix) && t.status == Status::Pass).count() {
            0 => complaints.push(format!("KUnit: no suite {name}")),
            few if few < *tests => complaints.push(format!("KUnit: {few} tests passed in {name}, {tests} are wanted")),
            _ => {}
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
    use crate::expect::Times;
    use crate::known::KnownWarning;
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
            repeats: Vec::new(),
        }
    }

    fn excuse(check: &str, reason: &str, times: Times) -> Excuse {
        Excuse { check: check.to_owned(), reason: reason.to_owned(), times }
    }

    fn complaints(serial: &str, demands: &Demands) -> Vec<String> {
        verdict(&record(serial, End::Exited), demands).unwrap().complaints
    }

    #[test]
    fn a_good_boot_passes() {
        let verdict = verdict(&record(GOOD, End::Exited), &Demands::default()).unwrap();
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
    }

    #[test]
    fn an_excuse_holds_for_its_reason_only() {
        let skipped = GOOD.replace("ok 2 b", "ok 2 b # SKIP no such device");
        let excused = |check: &str, reason: &str| {
            let excuses = vec![excuse(check, reason, Times::AtMost(usize::MAX))];
            complaints(&skipped, &Demands { excuses, ..Demands::default() }).len()
        };
        assert_eq!([excused("b", "no such"), excused("b", "other"), excused("", "no such")], [0, 1, 1]);
        let broken = vec![excuse("(", "", Times::AtMost(1))];
        let demands = Demands { excuses: broken, ..Demands::default() };
        assert!(verdict(&record(&skipped, End::Exited), &demands).is_err());
    }

    #[test]
    fn an_excuse_may_say_how_often_it_holds() {
        let skipped = GOOD.replace("ok 2 b", "ok 2 b # SKIP no such device");
        let demands =
            |count| Demands { excuses: vec![excuse("[ab]", "no such", Times::Exactly(count))], ..Demands::default() };
        assert_eq!([0, 1, 2].map(|count| complaints(&skipped, &demands(count)).len()), [1, 0, 1]);
        assert_eq!([0, 1].map(|count| complaints(GOOD, &demands(count)).len()), [0, 1]);
    }

    #[test]
    fn a_domain_that_is_not_followed_fails_the_boot() {
        let mut record = record(GOOD, End::Exited);
        record.hypervisor = ["[1.0] cache: domain 4 is too large, no longer followed", "[1.0] cache: something else"]
            .map(str::to_owned)
            .to_vec();
        let complaints = verdict(&record, &Demands::default()).unwrap().complaints;
        assert_eq!(complaints, ["minihv: cache: domain 4 is too large, no longer followed"]);
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
        let complaints = |violations: &[&str]| {
            let violations = violations.iter().map(|&pattern| pattern.to_owned()).collect();
            verdict(&record, &Demands { violations, ..Demands::default() }).unwrap().complaints
        };
        assert_eq!(complaints(&["^ATS"]), [""; 0]);
        assert_eq!(complaints(&["^ATS", "^cache"]), ["minihv: no violation matches \"^cache\""]);
        record.hypervisor = vec!["[1.0] violation: ATS".to_owned(); 2 * VIOLATIONS_SHOWN];
        let many = verdict(&record, &Demands::default()).unwrap().complaints;
        assert_eq!((many.len(), many[VIOLATIONS_SHOWN].as_str()), (6, "minihv: and 5 more such lines"));
    }

    #[test]
    fn a_test_of_the_tests_wants_its_failure() {
        let failing = |check: &str, reason: &str| Demands {
            failing: vec![Failing { check: check.to_owned(), reason: reason.to_owned() }],
            ..Demands::default()
        };
        let demands = failing("b", "STALE");
        assert_eq!(complaints(GOOD, &demands), ["b passed but must fail"]);
        let fails = |words: &str| complaints(&GOOD.replace("ok 2 b", &format!("not ok 2 b # {words}")), &demands);
        assert_eq!(fails("STALE TRANSLATION"), Vec::<String>::new());
        assert_eq!(fails("edu does not finish").len(), 1, "another reason");
        assert_eq!(complaints(&GOOD.replace("ok 2 b", "ok 2 b # SKIP none"), &demands).len(), 1, "skipped");
        assert_eq!(complaints(GOOD, &failing("c", "")), ["c did not run"]);
        assert!(verdict(&record(&GOOD.replace("ok 2 b", "not ok 2 b"), End::Exited), &failing("b", "(")).is_err());
    }

    #[test]
    fn kernel_tests_are_all_there_and_none_is_skipped() {
        let wants = |name, tests| {
            let kunit_suites = vec![KunitSuite { name, tests }];
            complaints(GOOD, &Demands { kunit_suites, ..Demands::default() })
        };
        assert_eq!(wants("hv_pviommu_flush", 1), Vec::<String>::new());
        assert_eq!(wants("hv_pviommu_flush", 2), ["KUnit: 1 tests passed in hv_pviommu_flush, 2 are wanted"]);
        assert_eq!(wants("hv_pviommu", 1), ["KUnit: no suite hv_pviommu"], "a prefix of a name is another name");
        let skipped = GOOD.replace("    ok 1 corners", "    ok 1 corners # SKIP no memory");
        assert_eq!(complaints(&skipped, &Demands::default()), ["KUnit: hv_pviommu_flush.corners skipped: no memory"]);
        let excuses = vec![excuse(".*corners", "no memory", Times::AtMost(usize::MAX))];
        assert_eq!(complaints(&skipped, &Demands { excuses, ..Demands::default() }), Vec::<String>::new());
    }

    #[test]
    fn what_nothing_names_fails() {
        let line = "hv_pviommu: no blocking domain: HVCALL_CREATE_DEVICE_DOMAIN: 0xb X";
        let loud = format!("{GOOD}\n[    0.5] {line}");
        assert_eq!(complaints(&loud, &Demands::default()), [format!("a line that the case does not name: {line}")]);
        let log = vec![crate::expect::no_static_domain("blocking")];
        assert_eq!(complaints(&loud, &Demands { log, ..Demands::default() }), Vec::<String>::new());
        let unnamed = Unnamed::Passes;
        assert_eq!(complaints(&loud, &Demands { unnamed, ..Demands::default() }), Vec::<String>::new());
        let accounted = format!("{loud}\n[    0.6] hvtest: # accounted for: {line}");
        assert_eq!(complaints(&accounted, &Demands::default()), Vec::<String>::new());
    }

    #[test]
    fn a_fault_must_be_announced_and_an_announced_fault_must_be_there() {
        let announced = format!("{GOOD}\n[    1.1] hvtest: # fault expected dev=0x1ee76050 iova=0x1000 access=read");
        let fault = "[1.0] iommu: DMA fault: device 0x1ee76050 read iova 0x1000 reason 0x71";
        let judged = |serial: &str, hypervisor: &[&str]| {
            let mut record = record(serial, End::Exited);
            record.hypervisor = hypervisor.iter().map(|line| (*line).to_owned()).collect();
            verdict(&record, &Demands::default()).unwrap().complaints.len()
        };
        assert_eq!([judged(GOOD, &[]), judged(GOOD, &[fault])], [0, 1]);
        assert_eq!([judged(&announced, &[]), judged(&announced, &[fault])], [1, 0]);
        assert_eq!(judged(&announced.replace("iova=0x1000", "iova=x"), &[]), 1, "an announcement nobody can read");
    }

    #[test]
    fn long_waits_are_collected() {
        let slow = format!("{GOOD}\n[    1.1] hvtest: # waited 12.3 s for the disk of x");
        let verdict = verdict(&record(&slow, End::Exited), &Demands::default()).unwrap();
        assert!(verdict.passed());
        assert_eq!(verdict.waits, [Wait { seconds: 12.3, what: "the disk of x".to_owned() }]);
    }

    #[test]
    fn a_known_warning_passes_at_its_place_only() {
        let warning = "WARNING: drivers/iommu/iommu.c:157 at f+0x1/0x2, CPU#0: init/1";
        let report =
            ["------------[ cut here ]------------", warning, "Call Trace:", " <TASK>", " g+0x1/0x2", " </TASK>"];
        let loud = format!("{GOOD}\n{}", report.map(|line| format!("[    1.0] {line}")).join("\n"));
        let known = |function, caller| {
            let warnings = vec![KnownWarning { file: "drivers/iommu/iommu.c", function, caller }];
            complaints(&loud, &Demands { warnings, ..Demands::default() }).len()
        };
        assert_eq!([known("f", "g"), known("h", "g"), known("f", "h")], [0, 3, 3]);
    }
}
