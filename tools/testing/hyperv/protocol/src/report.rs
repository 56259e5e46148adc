// SPDX-License-Identifier: GPL-2.0
//! The guest program's report: KTAP, each line with a prefix that tells it from what the kernel's own tests print.
//! Remarks are KTAP's diagnostic lines.

use std::fmt;

/// What each line begins with.
pub const PREFIX: &str = "hvtest: ";
/// The last line's beginning, behind the prefix. A report without it broke off.
pub const TOTALS: &str = "# Totals: ";
/// What a remark begins with that says why there is no report to come.
pub const BAIL_OUT: &str = "Bail out! ";

/// The remark that a line is, at any depth of the report; none of a result, and none of another's line.
pub fn remark(message: &str) -> Option<&str> {
    message.strip_prefix(PREFIX)?.trim_start().strip_prefix("# ")
}

/// The remark that a line of the driver was compared with what had to come: `accounted for: hv_pviommu: …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounted<'a>(pub &'a str);

impl<'a> Accounted<'a> {
    const START: &'static str = "accounted for: ";

    /// Reads a remark.
    pub fn read(remark: &'a str) -> Option<Accounted<'a>> {
        remark.strip_prefix(Self::START).map(Accounted)
    }
}

impl fmt::Display for Accounted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::START, self.0)
    }
}

/// The remark that something took longer than usual: `waited 4.2 s for the disk of 1ee7:00:00.0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// How long, in seconds.
    pub seconds: f64,
    /// For what.
    pub what: String,
}

impl Wait {
    /// Reads a remark.
    pub fn read(remark: &str) -> Option<Wait> {
        let (seconds, what) = remark.strip_prefix("waited ")?.split_once(" s for ")?;
        let seconds = seconds.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)?;
        Some(Wait { seconds, what: what.to_owned() })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:.1} s for {}", self.seconds, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_told_from_results() {
        assert_eq!(remark("hvtest:     # cell a: ok"), Some("cell a: ok"));
        for other in ["hvtest: ok 1 a # b", "other: # cell", "# cell"] {
            assert_eq!(remark(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        let line = Accounted("hv_pviommu: x");
        assert_eq!(line.to_string(), "accounted for: hv_pviommu: x");
        assert_eq!(Accounted::read(&line.to_string()), Some(line));
        assert_eq!(Accounted::read("10 cycles"), None);
        let wait = Wait { seconds: 61.5, what: "bus 1 is empty".to_owned() };
        assert_eq!(wait.to_string(), "waited 61.5 s for bus 1 is empty");
        assert_eq!(Wait::read(&wait.to_string()), Some(wait));
    }

    #[test]
    fn waits_are_told_from_other_remarks() {
        for other in ["waited long", "waited x s for y", "waited -1 s for y", "waited NaN s for y", "10 cycles"] {
            assert_eq!(Wait::read(other), None, "{other}");
        }
    }
}
