// SPDX-License-Identifier: GPL-2.0
//! Reports of the kernel that go on for many lines, known by where they were made or by a function in their call trace.

/// How many lines before its call trace a report may start: those of two processors come mixed.
const HEAD: usize = 120;
/// How long a call trace may be.
const TRACE: usize = 160;

/// Leaves out each report with a call trace in which one of `functions` appears: the line with `BUG: ` that starts it,
/// and the trace. One that is not complete stays.
///
/// Where two reports are mixed, a trace takes the last line with `BUG: ` that no other has taken; there are as many of
/// both.
pub fn without_reports_through<'a>(messages: &[&'a str], functions: &[String]) -> Vec<&'a str> {
    let mut known = vec![false; messages.len()];
    for (at, _) in messages.iter().enumerate().filter(|(_, m)| m.trim() == "Call Trace:") {
        let trace = &messages[at..messages.len().min(at + TRACE)];
        let start = (at.saturating_sub(HEAD)..at).rev().find(|line| messages[*line].contains("BUG: ") && !known[*line]);
        let (Some(start), Some(end)) = (start, trace.iter().position(|m| m.trim() == "</TASK>")) else { continue };
        if trace[..end].iter().any(|line| functions.iter().any(|f| calls(line, f))) {
            known[start] = true;
            known[at..=at + end].fill(true);
        }
    }
    messages.iter().zip(known).filter(|(_, known)| !known).map(|(m, _)| *m).collect()
}

/// A warning that is part of a test: its very place, and on whose behalf it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownWarning {
    /// The file, as the kernel names it.
    pub file: &'static str,
    /// The function that warns.
    pub function: &'static str,
    /// A function that must be in the call trace.
    pub caller: &'static str,
}

impl KnownWarning {
    /// Whether this is the line that names the place: `WARNING: FILE:LINE at FUNCTION+0x1/0x2, CPU#0: init/1`.
    fn is_line(&self, message: &str) -> bool {
        let place = message.strip_prefix("WARNING: ").and_then(|rest| rest.strip_prefix(self.file)?.strip_prefix(':'));
        let Some((line, rest)) = place.and_then(|place| place.split_once(" at ")) else { return false };
        line.parse::<u32>().is_ok() && calls(rest, self.function)
    }
}

/// How many lines after its first one a warning's call trace may start.
const REGISTERS: usize = 80;

/// Leaves out each warning that is known: the line `cut here` before it, the line that names its place, and the head of
/// its call trace. One with another caller, or without a complete call trace, stays.
pub fn without_known_warnings<'a>(messages: &[&'a str], warnings: &[KnownWarning]) -> Vec<&'a str> {
    let mut known = vec![false; messages.len()];
    for (at, message) in messages.iter().enumerate() {
        let mut fitting = warnings.iter().filter(|warning| warning.is_line(message)).peekable();
        if fitting.peek().is_none() {
            continue;
        }
        let is_head = |line: &usize| messages[*line].trim() == "Call Trace:" && !known[*line];
        let Some(head) = (at..messages.len().min(at + REGISTERS)).find(is_head) else { continue };
        let trace = &messages[head..messages.len().min(head + TRACE)];
        let Some(end) = trace.iter().position(|line| line.trim() == "</TASK>") else { continue };
        if fitting.any(|warning| trace[..end].iter().any(|line| calls(line, warning.caller))) {
            known[at] = true;
            known[head] = true;
            if let Some(cut) = (at.saturating_sub(3)..at).rev().find(|line| messages[*line].contains("-[ cut here ]-"))
            {
                known[cut] = true;
            }
        }
    }
    messages.iter().zip(known).filter(|(_, known)| !known).map(|(m, _)| *m).collect()
}

/// An order of locks that is wrong in the kernel itself: lockdep's report of it is part of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCycle {
    /// Locks that are in the cycle, as lockdep names them. There may be more.
    pub locks: &'static [&'static str],
}

/// How lockdep begins to report a cycle.
const CYCLE: &str = "WARNING: possible circular locking dependency detected";
/// How long such a report may be, with its call traces.
const CYCLE_LINES: usize = 300;
/// How the name of a function in Rust begins: the driver's are, and the abstractions that it is built on.
const RUST: &str = "_R";

/// Leaves out lockdep's reports of known cycles: the line that starts one, and the head of its last call trace. One with
/// a function of Rust in any of its traces stays, and so does one that is cut.
pub fn without_known_cycles<'a>(messages: &[&'a str], cycles: &[KnownCycle]) -> Vec<&'a str> {
    let mut known = vec![false; messages.len()];
    for (at, _) in messages.iter().enumerate().filter(|(_, m)| **m == CYCLE) {
        let report = &messages[at..messages.len().min(at + CYCLE_LINES)];
        let Some(end) = report.iter().position(|m| m.trim() == "</TASK>") else { continue };
        let report = &report[..end];
        let Some(head) = report.iter().position(|m| m.trim() == "Call Trace:") else { continue };
        let has = |lock: &&str| report.iter().any(|m| m.starts_with("-> #") && m.contains(&format!("({lock}){{")));
        let has_rust = report.iter().any(|m| m.trim().trim_start_matches("? ").starts_with(RUST));
        if !has_rust && cycles.iter().any(|cycle| cycle.locks.iter().all(has)) {
            known[at] = true;
            known[at + head] = true;
        }
    }
    messages.iter().zip(known).filter(|(_, known)| !known).map(|(m, _)| *m).collect()
}

/// Whether a line of a call trace names the function, certainly: lines with `?` are guesses.
fn calls(line: &str, function: &str) -> bool {
    line.trim().strip_prefix(function).is_some_and(|rest| rest.starts_with("+0x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [&str; 7] = [
        "BUG: sleeping function called from invalid context at kernel/locking/spinlock_rt.c:48",
        "in_atomic(): 1",
        "Call Trace:",
        " <TASK>",
        " rt_spin_lock+0x5a/0x1b0",
        " hv_compose_msi_msg+0x2e7/0xa80",
        " </TASK>",
    ];

    fn functions() -> Vec<String> {
        vec!["hv_compose_msi_msg".to_owned()]
    }

    const WARNING: [&str; 7] = [
        "------------[ cut here ]------------",
        "WARNING: drivers/iommu/iommu.c:157 at iommu_detach_group+0x3a/0x50, CPU#1: init/1",
        "RIP: 0010:iommu_detach_group+0x3a/0x50",
        "Call Trace:",
        " <TASK>",
        " vfio_device_close+0x5a/0x1b0",
        " </TASK>",
    ];
    const KNOWN: KnownWarning =
        KnownWarning { file: "drivers/iommu/iommu.c", function: "iommu_detach_group", caller: "vfio_device_close" };

    #[test]
    fn a_known_warning_goes_and_nothing_else() {
        let rest = [WARNING[2], WARNING[4], WARNING[5], WARNING[6]];
        assert_eq!(without_known_warnings(&WARNING, &[KNOWN]), rest);
        let both = [WARNING, WARNING].concat();
        assert_eq!(without_known_warnings(&both, &[KNOWN]), [rest, rest].concat());
        assert_eq!(without_known_warnings(&WARNING, &[]), WARNING);
    }

    #[test]
    fn a_warning_from_elsewhere_stays() {
        for other in [
            KnownWarning { file: "drivers/iommu/dma-iommu.c", ..KNOWN },
            KnownWarning { file: "drivers/iommu/iommu", ..KNOWN },
            KnownWarning { function: "iommu_detach", ..KNOWN },
            KnownWarning { function: "iommu_attach_group", ..KNOWN },
            KnownWarning { caller: "iommufd_fops_release", ..KNOWN },
        ] {
            assert_eq!(without_known_warnings(&WARNING, &[other.clone()]), WARNING, "{other:?}");
        }
        assert_eq!(without_known_warnings(&WARNING[..6], &[KNOWN]), WARNING[..6], "a trace that is cut");
        let another = ["WARNING: drivers/iommu/iommu.c:9 at other+0x1/0x2, CPU#0: init/1", "Call Trace:", " </TASK>"];
        let mixed = [&another[..], &WARNING].concat();
        let left = without_known_warnings(&mixed, &[KNOWN]);
        assert_eq!(left[..3], another);
    }

    const REPORT_OF_CYCLE: [&str; 8] = [
        CYCLE,
        "-> #1 (&group->mutex){+.+.}-{4:4}:",
        "       pci_dev_reset_iommu_prepare+0x9a/0x320",
        "-> #0 (&mm->mmap_lock){++++}-{4:4}:",
        "Call Trace:",
        " <TASK>",
        " perf_read+0x184/0x3b0",
        " </TASK>",
    ];

    #[test]
    fn a_known_cycle_goes_and_nothing_else() {
        let cycle = |locks| [KnownCycle { locks }];
        let both = cycle(&["&mm->mmap_lock", "&group->mutex"]);
        let rest = [&REPORT_OF_CYCLE[1..4], &REPORT_OF_CYCLE[5..]].concat();
        assert_eq!(without_known_cycles(&REPORT_OF_CYCLE, &both), rest);
        assert_eq!(without_known_cycles(&REPORT_OF_CYCLE, &cycle(&["&mm->mmap_lock", "other"])), REPORT_OF_CYCLE);
        assert_eq!(without_known_cycles(&REPORT_OF_CYCLE, &[]), REPORT_OF_CYCLE);
        assert_eq!(without_known_cycles(&REPORT_OF_CYCLE[..7], &both), REPORT_OF_CYCLE[..7], "a report that is cut");
        for place in [2, 6] {
            let mut driver = REPORT_OF_CYCLE;
            driver[place] = "       _RNvNtCs1_10hv_pviommu5flush4list+0x1/0x2";
            assert_eq!(without_known_cycles(&driver, &both), driver);
        }
    }

    #[test]
    fn a_known_report_goes_and_nothing_else() {
        let mut log = vec!["before"];
        log.extend(REPORT);
        log.push("after");
        assert_eq!(without_reports_through(&log, &functions()), ["before", "in_atomic(): 1", "after"]);
    }

    #[test]
    fn a_report_through_other_functions_stays() {
        let other = REPORT.map(|line| if line.contains("compose") { " ? hv_compose_msi_msg+0x1/0x2" } else { line });
        assert_eq!(without_reports_through(&other, &functions()), other);
        assert_eq!(without_reports_through(&REPORT, &["hv_compose".to_owned()]), REPORT);
        assert_eq!(without_reports_through(&REPORT, &[]), REPORT);
    }

    #[test]
    fn a_report_that_is_cut_stays() {
        assert_eq!(without_reports_through(&REPORT[..6], &functions()), REPORT[..6]);
        assert_eq!(without_reports_through(&REPORT[1..], &functions()), REPORT[1..]);
    }

    #[test]
    fn known_reports_may_be_mixed() {
        let heads = [REPORT[0], "[ BUG: Invalid wait context ]", "more of the first"];
        let log = [&heads[..], &REPORT[2..], &["between"], &REPORT[2..]].concat();
        assert_eq!(without_reports_through(&log, &functions()), ["more of the first", "between"]);
    }

    #[test]
    fn an_unknown_report_mixed_with_a_known_one_stays() {
        let unknown = ["Call Trace:", " hv_pviommu_flush+0x1/0x2", " </TASK>"];
        let log = [&REPORT[..1], &REPORT[..1], &REPORT[2..], &unknown].concat();
        assert_eq!(without_reports_through(&log, &functions()), [&REPORT[..1], &unknown].concat());
    }

    #[test]
    fn an_unknown_report_beside_a_known_one_stays() {
        let unknown = REPORT.map(|line| if line.contains("compose") { " hv_pviommu_flush+0x1/0x2" } else { line });
        let log = [unknown, REPORT].concat();
        assert_eq!(without_reports_through(&log, &functions()), [&unknown[..], &[REPORT[1]]].concat());
    }
}
