// SPDX-License-Identifier: GPL-2.0
//! Reports of the kernel that go on for many lines, known by a function in their call trace.

/// How many lines before its call trace a report may start: those of two processors come mixed.
const HEAD: usize = 120;
/// How long a call trace may be.
const TRACE: usize = 80;

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
