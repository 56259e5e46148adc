// SPDX-License-Identifier: GPL-2.0
//! minihv's test of itself, which starts no kernel: what its log must say.

use crate::ktap::{Report, Status, Test};
use crate::record::{End, Record};

/// The checks of the hypervisor, then those of its small guest.
pub const CHECKS: [&str; 10] = [
    "own-memory-is-hidden",
    "interrupt-remapping",
    "translations",
    "page-off",
    "page-on",
    "user",
    "restored",
    "bad-gpa",
    "hidden",
    "no-svm",
];

/// Those of the host of a root partition.
pub const ROOT_CHECKS: [&str; 6] = [
    "root-identity",
    "root-deposits",
    "root-small-pages",
    "root-large-pages",
    "root-blocked",
    "root-memory-is-given-back",
];

/// The name that a line says has passed.
fn passed(line: &str) -> Option<&str> {
    let (_, text) = line.split_once("] ")?;
    text.strip_prefix("selftest: ok ").or_else(|| text.strip_prefix("mark "))
}

/// What passed in a boot of minihv with `selftest=on`, in which these checks run, and what is wrong, one sentence each.
pub fn judge(record: &Record, checks: &[&str]) -> (Report, Vec<String>) {
    let mut complaints = match &record.end {
        End::Exited => Vec::new(),
        other => vec![format!("the machine did not end as it should: {other:?}")],
    };
    let seen: Vec<&str> = record.hypervisor.iter().filter_map(|line| passed(line)).collect();
    if seen != checks {
        complaints.push(format!("passed: {seen:?}, expected {checks:?}"));
    }
    if !record.hypervisor.iter().any(|line| line.contains("minihv: guest powered off")) {
        complaints.push("the guest did not come to its end".to_owned());
    }
    let alarming = record.hypervisor.iter().filter(|line| line.contains("fatal: ") || line.contains("panicked at"));
    complaints.extend(alarming.map(|line| format!("minihv: {line}")));
    let tests = seen.iter().map(|name| Test { name: (*name).to_owned(), status: Status::Pass, detail: String::new() });
    (Report { tests: tests.collect(), ..Report::default() }, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Logs;
    use std::path::Path;
    use std::time::Duration;

    fn complaints(lines: &[String], end: End) -> usize {
        let record = Record {
            end,
            serial: Vec::new(),
            hypervisor: lines.to_vec(),
            logs: Logs::new(Path::new("/logs")),
            elapsed: Duration::ZERO,
            repeats: Vec::new(),
        };
        judge(&record, &CHECKS).1.len()
    }

    fn good() -> Vec<String> {
        let line = |(index, name): (usize, &&str)| match index {
            0..3 => format!("[0.1] selftest: ok {name}"),
            _ => format!("[0.1] mark {name}"),
        };
        let end = "[0.2] minihv: guest powered off after 3 exits".to_owned();
        CHECKS.iter().enumerate().map(line).chain([end]).collect()
    }

    #[test]
    fn every_check_must_pass_in_order() {
        assert_eq!(complaints(&good(), End::Exited), 0);
        for missing in 0..CHECKS.len() {
            let mut lines = good();
            lines.remove(missing);
            assert_eq!(complaints(&lines, End::Exited), 1, "{missing}");
        }
        let mut lines = good();
        lines.insert(5, "[0.1] mark FAILED".to_owned());
        assert_eq!(complaints(&lines, End::Exited), 1);
    }

    #[test]
    fn the_end_counts() {
        assert_eq!(complaints(&good(), End::QemuFailed("exit status 5".to_owned())), 1);
        let mut lines = good();
        lines.pop();
        lines.push("[0.2] minihv: fatal: self-check".to_owned());
        assert_eq!(complaints(&lines, End::Exited), 2);
    }
}
