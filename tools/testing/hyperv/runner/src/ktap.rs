// SPDX-License-Identifier: GPL-2.0
//! KTAP (Documentation/dev-tools/ktap.rst): what the guest program and the kernel's own tests report.

use regex::Regex;

/// A test's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `ok`.
    Pass,
    /// `not ok`.
    Fail,
    /// `ok ... # SKIP`.
    Skip,
}

/// One test (not a suite: those follow from their tests).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Names of the suites round it and its own, joined by dots.
    pub name: String,
    /// Its result.
    pub status: Status,
    /// What stands behind `#`, without the directive.
    pub detail: String,
}

/// What has been read so far on one level of nesting.
#[derive(Clone, Debug, Default)]
struct Level {
    suite: Option<String>,
    planned: Option<usize>,
    seen: usize,
}

/// Reads KTAP line by line; lines in between that are no KTAP are ignored.
pub struct Parser {
    plan: Regex,
    result: Regex,
    subtest: Regex,
    levels: Vec<Level>,
    tests: Vec<Test>,
    problems: Vec<String>,
}

/// Spaces per level.
const INDENT: usize = 4;
/// Deepest nesting that is read; KUnit has three levels.
const DEPTH_MAX: usize = 8;

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    /// A parser that has read nothing.
    pub fn new() -> Parser {
        let regex = |text: &str| Regex::new(text).expect("a constant expression");
        Parser {
            plan: regex(r"^( *)1\.\.(\d+)$"),
            result: regex(r"^( *)(not ok|ok) (\d+)(?: -)?(?: ([^#]*?))?(?: *# ?(.*))?$"),
            subtest: regex(r"^( *)# Subtest: (\S.*)$"),
            levels: Vec::new(),
            tests: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn level(&mut self, indent: &str) -> Option<usize> {
        let depth = indent.len() / INDENT;
        if depth >= DEPTH_MAX {
            return None;
        }
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, Level::default);
        }
        Some(depth)
    }

    /// Ends every level deeper than `depth`; true when there was one with results.
    fn close(&mut self, depth: usize) -> bool {
        let mut had_children = false;
        while self.levels.len() > depth + 1 {
            let Some(level) = self.levels.pop() else { break };
            had_children |= level.seen > 0;
            self.check(&level);
        }
        had_children
    }

    fn check(&mut self, level: &Level) {
        if level.planned.is_some_and(|planned| planned != level.seen) {
            let name = level.suite.as_deref().unwrap_or("the report");
            let planned = level.planned.unwrap_or_default();
            self.problems.push(format!("{name}: {} of {planned} results", level.seen));
        }
    }

    /// Takes a line, without the kernel's time stamp. Returns the test whose result it is.
    pub fn line(&mut self, line: &str) -> Option<&Test> {
        if let Some(found) = self.subtest.captures(line) {
            let (indent, name) = (found[1].to_owned(), found[2].to_owned());
            let depth = self.level(&indent)?;
            self.levels[depth].suite = Some(name);
            return None;
        }
        if let Some(found) = self.plan.captures(line) {
            let (indent, count) = (found[1].to_owned(), found[2].parse().ok()?);
            let depth = self.level(&indent)?;
            self.close(depth);
            if self.levels[depth].planned.is_some() {
                // A second report begins (a test module was loaded).
                let finished = std::mem::take(&mut self.levels[depth]);
                self.check(&finished);
            }
            self.levels[depth].planned = Some(count);
            return None;
        }
        let found = self.result.captures(line)?;
        let text = |i: usize| found.get(i).map_or("", |m| m.as_str()).trim().to_owned();
        let (indent, verdict, number, name, detail) = (found[1].to_owned(), text(2), text(3), text(4), text(5));
        let depth = self.level(&indent)?;
        let is_suite = self.close(depth);
        self.levels[depth].seen += 1;
        let seen = self.levels[depth].seen;
        let suites = self.levels[..=depth].iter().filter_map(|l| l.suite.as_deref());
        let own = if name.is_empty() { number.clone() } else { name };
        let name = suites.chain([own.as_str()]).collect::<Vec<_>>().join(".");
        if number.parse() != Ok(seen) {
            self.problems.push(format!("{name}: result number {number} instead of {seen}"));
        }
        let (status, detail) = match (verdict.as_str(), detail.strip_prefix("SKIP")) {
            ("ok", Some(reason)) => (Status::Skip, reason.trim().to_owned()),
            ("ok", None) => (Status::Pass, detail),
            _ => (Status::Fail, detail),
        };
        if is_suite {
            // Its tests are listed already. A suite that fails without a failing test is a failure of its own.
            let prefix = format!("{name}.");
            if status != Status::Fail
                || self.tests.iter().any(|t| t.status == Status::Fail && t.name.starts_with(&prefix))
            {
                return None;
            }
        }
        self.tests.push(Test { name, status, detail });
        self.tests.last()
    }

    /// Ends the report: all tests, and what is wrong with the report itself.
    pub fn finish(mut self) -> Report {
        self.close(0);
        if let Some(level) = self.levels.pop() {
            self.check(&level);
        }
        Report { tests: self.tests, problems: self.problems }
    }
}

/// A complete report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every test, in order.
    pub tests: Vec<Test>,
    /// Missing or misnumbered results.
    pub problems: Vec<String>,
}

impl Report {
    /// Number of tests with a status.
    pub fn count(&self, status: Status) -> usize {
        self.tests.iter().filter(|t| t.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Report {
        let mut parser = Parser::new();
        for line in text.lines() {
            parser.line(line);
        }
        parser.finish()
    }

    #[test]
    fn flat_report() {
        let report = parse(
            "KTAP version 1\n1..3\nok 1 one # 5 functions\nnot ok 2 two # no: 1\nnoise\nok 3 three # SKIP no device\n",
        );
        let statuses: Vec<Status> = report.tests.iter().map(|t| t.status).collect();
        assert_eq!(statuses, [Status::Pass, Status::Fail, Status::Skip]);
        assert_eq!((report.tests[0].detail.as_str(), report.tests[2].detail.as_str()), ("5 functions", "no device"));
        assert_eq!(report.problems, Vec::<String>::new());
    }

    #[test]
    fn nested_report_counts_tests_not_suites() {
        let text = "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: flush\n    # module: hv\n    1..2\n    ok 1 corners\n    \
                    # corners: pass:1\n    not ok 2 wrap\nnot ok 1 flush\n    KTAP version 1\n    # Subtest: width\n    1..1\n        \
                    KTAP version 1\n        # Subtest: clamp\n        ok 1 39\n        ok 2 48\n    ok 1 clamp\nok 2 width\n";
        let report = parse(text);
        let names: Vec<&str> = report.tests.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["flush.corners", "flush.wrap", "width.clamp.39", "width.clamp.48"]);
        assert_eq!((report.count(Status::Pass), report.count(Status::Fail)), (3, 1));
        assert_eq!(report.problems, Vec::<String>::new());
    }

    #[test]
    fn a_report_that_breaks_off_is_noticed() {
        assert_eq!(parse("1..3\nok 1 a\nok 2 b\n").problems, ["the report: 2 of 3 results"]);
        let text = "1..1\n    # Subtest: s\n    1..2\n    ok 1 a\nok 1 s\n";
        assert_eq!(parse(text).problems, ["s: 1 of 2 results"]);
        assert_eq!(parse("1..2\nok 1 a\nok 3 c\n").problems.len(), 1);
    }

    #[test]
    fn a_failing_suite_without_a_failing_test_fails() {
        let report = parse("1..1\n    # Subtest: s\n    1..1\n    ok 1 a\nnot ok 1 s\n");
        assert_eq!(report.count(Status::Fail), 1);
    }
}
