// SPDX-License-Identifier: GPL-2.0
//! From the verdicts of boots to what is right, what differs, and what was not tried.

use std::path::PathBuf;

use serde::Serialize;

use crate::demands::Demands;
use crate::ktap::{Status, Test};
use crate::verdict::Verdict;

/// What a kernel does with the IOMMU that the host offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// It asks for it and attaches devices.
    InUse,
    /// It asks for it, and attaches none.
    NotInUse,
    /// It does not ask.
    None,
}

impl Driver {
    /// What hvcore's counters say at the end of a boot: calls of GET_IOMMU_CAPABILITIES, and of ATTACH_DEVICE_DOMAIN.
    pub fn of(hypervisor: &[String]) -> Driver {
        const CAPABILITIES: u16 = 0x125;
        const ATTACH: u16 = 0xb2;
        let calls = |code: u16| {
            let start = format!("counter calls {code:#x} ");
            let count = hypervisor.iter().rev().find_map(|line| line.split_once(&start)?.1.trim().parse().ok());
            count.unwrap_or(0_u64)
        };
        match (calls(CAPABILITIES), calls(ATTACH)) {
            (_, 1..) => Driver::InUse,
            (1.., 0) => Driver::NotInUse,
            (0, 0) => Driver::None,
        }
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Driver::InUse => "it has a driver of the IOMMU, which attaches devices",
            Driver::NotInUse => "it asks for the IOMMU, and attaches no device",
            Driver::None => "it has no driver of the IOMMU: devices are not translated",
        }
    }
}

/// What came of a case or of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// As it should be.
    Right,
    /// Otherwise.
    Differs,
    /// Nobody knows.
    NotTried,
}

impl Judgement {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Judgement::Right => "right",
            Judgement::Differs => "DIFFERS",
            Judgement::NotTried => "not tried",
        }
    }
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub judgement: Judgement,
    /// What it says: what was found, where it differs, or why it was not tried.
    pub detail: String,
}

/// A case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// What it is about.
    pub about: &'static str,
    /// `suite/name`.
    pub name: &'static str,
    /// What came of it.
    pub judgement: Judgement,
    /// Seconds.
    pub seconds: f64,
    /// Its checks.
    pub checks: Vec<Check>,
    /// What is wrong besides checks: reports of the kernel, violations of the interface, DMA faults; or why it was not
    /// tried.
    pub complaints: Vec<String>,
    /// Directory of its logs, where it was tried.
    pub logs: Option<PathBuf>,
}

impl Case {
    /// A case that was not tried.
    pub fn not_tried(about: &'static str, name: &'static str, reason: String) -> Case {
        let judgement = Judgement::NotTried;
        Case { about, name, judgement, seconds: 0.0, checks: Vec::new(), complaints: vec![reason], logs: None }
    }
}

fn judge(test: &Test, demands: &Demands) -> Check {
    let must_fail = demands.failing.iter().any(|failing| failing.check == test.name);
    let judgement = match (test.status, must_fail) {
        (Status::Pass, false) | (Status::Fail, true) => Judgement::Right,
        (Status::Fail, false) | (Status::Pass, true) => Judgement::Differs,
        (Status::Skip, _) => Judgement::NotTried,
    };
    Check { name: test.name.clone(), judgement, detail: test.detail.clone() }
}

/// The checks of a boot, and what is wrong besides: a complaint about a check that was skipped or failed is told by the
/// check.
pub fn judge_all(verdict: &Verdict, demands: &Demands) -> (Judgement, Vec<Check>, Vec<String>) {
    let checks: Vec<Check> = verdict.guest.tests.iter().map(|test| judge(test, demands)).collect();
    let is_told = |complaint: &String| {
        checks.iter().any(|check| match check.judgement {
            Judgement::NotTried => *complaint == format!("{} skipped: {}", check.name, check.detail),
            Judgement::Differs => *complaint == format!("{}: {}", check.name, check.detail),
            Judgement::Right => false,
        })
    };
    let complaints: Vec<String> = verdict.complaints.iter().filter(|complaint| !is_told(complaint)).cloned().collect();
    let differs = !complaints.is_empty() || checks.iter().any(|check| check.judgement == Judgement::Differs);
    let judgement = match (differs, checks.iter().any(|check| check.judgement == Judgement::Right)) {
        (true, _) => Judgement::Differs,
        (false, true) => Judgement::Right,
        (false, false) => Judgement::NotTried,
    };
    (judgement, checks, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demands::Failing;
    use crate::ktap::Report;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_driver_is_known_by_its_calls() {
        let of = |said: &[&str]| Driver::of(&lines(said));
        assert_eq!(of(&["[1.0] counter calls 0x125 1", "[1.0] counter calls 0xb2 3"]), Driver::InUse);
        assert_eq!(of(&["[1.0] counter calls 0x125 1", "[1.0] counter calls 0xb1 3"]), Driver::NotInUse);
        assert_eq!(of(&["[1.0] counter calls 0x5c 9"]), Driver::None);
    }

    fn verdict(tests: &[(&str, Status, &str)], complaints: &[&str]) -> Verdict {
        let test = |&(name, status, detail): &(&str, Status, &str)| Test {
            name: name.to_owned(),
            status,
            detail: detail.to_owned(),
        };
        let guest = Report { tests: tests.iter().map(test).collect(), problems: Vec::new() };
        Verdict { guest, complaints: lines(complaints), ..Verdict::default() }
    }

    #[test]
    fn what_a_check_tells_is_told_once() {
        let tests = [("a", Status::Pass, ""), ("b", Status::Skip, "none"), ("c", Status::Fail, "why")];
        let said = verdict(&tests, &["b skipped: none", "c: why", "a report of the kernel"]);
        let (judgement, checks, complaints) = judge_all(&said, &Demands::default());
        let words: Vec<&str> = checks.iter().map(|check| check.judgement.word()).collect();
        assert_eq!((judgement, words), (Judgement::Differs, vec!["right", "not tried", "DIFFERS"]));
        assert_eq!(complaints, ["a report of the kernel"]);
    }

    #[test]
    fn what_was_only_skipped_was_not_tried() {
        let skipped = verdict(&[("b", Status::Skip, "none")], &["b skipped: none"]);
        assert_eq!(judge_all(&skipped, &Demands::default()).0, Judgement::NotTried);
        let some = verdict(&[("a", Status::Pass, ""), ("b", Status::Skip, "none")], &["b skipped: none"]);
        assert_eq!(judge_all(&some, &Demands::default()).0, Judgement::Right);
        assert_eq!(judge_all(&verdict(&[], &["it hung"]), &Demands::default()).0, Judgement::Differs);
    }

    #[test]
    fn a_control_is_right_when_its_check_fails() {
        let failing = vec![Failing { check: "a".to_owned(), reason: String::new() }];
        let demands = Demands { failing, ..Demands::default() };
        assert_eq!(judge_all(&verdict(&[("a", Status::Fail, "STALE")], &[]), &demands).0, Judgement::Right);
        assert_eq!(judge_all(&verdict(&[("a", Status::Pass, "")], &["a passed"]), &demands).0, Judgement::Differs);
    }
}
