// SPDX-License-Identifier: GPL-2.0
//! Reports of the kernel that go on for many lines, known by a function in their call trace.

/// How many lines before its call trace a report may start.
const HEAD: usize = 40;
/// How long a call trace may be.
const TRACE: usize = 80;

/// Leaves out each report with a call trace in which one of `functions` appears.
///
/// A report starts at the last line with `BUG: ` before its call trace and ends with `</TASK>`. One that is not
/// complete stays.
pub fn without_reports_through<'a>(messages: &[&'a str], functions: &[String]) -> Vec<&'a str> {
    let mut known = vec![false; messages.len()];
    for (at, _) in messages.iter().enumerate().filter(|(_, m)| m.trim() == "Call Trace:") {
        let head = &messages[at.saturating_sub(HEAD)..at];
        let trace = &messages[at..messages.len().min(at + TRACE)];
        let (Some(back), Some(end)) =
            (head.iter().rev().position(|m| m.contains("BUG: ")), trace.iter().position(|m| m.trim() == "</TASK>"))
        else {
            continue;
        };
        if trace[..end].iter().any(|line| functions.iter().any(|f| calls(line, f))) {
            known[at - 1 - back..=at + end].fill(true);
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
        assert_eq!(without_reports_through(&log, &functions()), ["before", "after"]);
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
    fn an_unknown_report_beside_a_known_one_stays() {
        let unknown = REPORT.map(|line| if line.contains("compose") { " hv_pviommu_flush+0x1/0x2" } else { line });
        let log = [unknown, REPORT].concat();
        assert_eq!(without_reports_through(&log, &functions()), unknown);
    }
}
