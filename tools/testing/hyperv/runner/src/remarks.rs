// SPDX-License-Identifier: GPL-2.0
//! Remarks of the guest program, and those that are counted: what it waited for.

/// What the guest program's lines begin with.
pub const GUEST: &str = "hvtest: ";

/// What a line of the guest program remarks, at any depth of the report; none of a result, and none of another's line.
pub fn remark(message: &str) -> Option<&str> {
    message.strip_prefix(GUEST)?.trim_start().strip_prefix("# ")
}

/// A wait that took longer than usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// How long.
    pub seconds: f64,
    /// For what.
    pub what: String,
}

impl Wait {
    /// Reads a remark of the report (without `# `), `waited 4.2 s for the disk of 1ee7:00:00.0`.
    pub fn read(remark: &str) -> Option<Wait> {
        let (seconds, what) = remark.strip_prefix("waited ")?.split_once(" s for ")?;
        let seconds = seconds.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)?;
        Some(Wait { seconds, what: what.to_owned() })
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
    fn waits_are_told_from_other_remarks() {
        let wait = Wait { seconds: 61.5, what: "bus 1 is empty".to_owned() };
        assert_eq!(Wait::read("waited 61.5 s for bus 1 is empty"), Some(wait));
        for other in ["waited long", "waited x s for y", "waited -1 s for y", "waited NaN s for y", "10 cycles"] {
            assert_eq!(Wait::read(other), None, "{other}");
        }
    }
}
