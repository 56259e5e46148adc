// SPDX-License-Identifier: GPL-2.0
//! What became better or worse since the results that are kept.

use super::change::{changes, Change, Meaning};
use super::configuration::tolerance;
use super::figure::Figures;
use super::results::Results;

/// What the changes are called, in the order in which they are shown.
const HEADINGS: [(Meaning, &str); 5] = [
    (Meaning::Worse, "worse"),
    (Meaning::Better, "better"),
    (Meaning::Different, "not the same as before"),
    (Meaning::New, "new"),
    (Meaning::Gone, "gone"),
];

/// How much of a configuration was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: what is missing is gone.
    Whole,
    /// What was asked for.
    Part,
}

/// Compares everything that was measured now; configurations that were left out are no loss. One line for each change,
/// below headings; empty when nothing changed.
pub fn compare(old: &Results, new: &Results, extent: Extent) -> Vec<String> {
    let mut lines: Vec<String> = old.environment.differences(&new.environment);
    for line in &mut lines {
        line.insert_str(0, "circumstances differ: ");
    }
    let nothing = Figures::default();
    let mut found: Vec<(Meaning, String)> = Vec::new();
    for (configuration, figures) in &new.configurations {
        let before = old.figures(configuration).unwrap_or(&nothing);
        let line = |change: Change| (change.meaning(), format!("{configuration} {}", change.describe()));
        let tolerance = |metric: &str| {
            let varied = old.tolerance(configuration, metric).max(new.tolerance(configuration, metric));
            tolerance(configuration, metric).max(varied)
        };
        found.extend(changes(before, figures, tolerance).into_iter().map(line));
    }
    if extent == Extent::Part {
        found.retain(|(meaning, _)| *meaning != Meaning::Gone);
    }
    for (meaning, heading) in HEADINGS {
        let fitting: Vec<&String> = found.iter().filter(|(m, _)| *m == meaning).map(|(_, text)| text).collect();
        if !fitting.is_empty() {
            lines.push(format!("{heading}: {}", fitting.len()));
            lines.extend(fitting.into_iter().map(|text| format!("  {text}")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn changes_are_grouped() {
        let old = sample(&[("hv-strict", "a 100 calls\nb 100 calls\nc 100 calls"), ("intel-strict", "a 100 calls")]);
        let new = sample(&[("hv-strict", "a 90 calls\nb 110 calls\nd 1 calls"), ("none", "a 1 calls")]);
        assert_eq!(
            compare(&old, &new, Extent::Whole),
            [
                "worse: 1",
                "  hv-strict b: 100 -> 110 calls (+10.0 %)",
                "better: 1",
                "  hv-strict a: 100 -> 90 calls (-10.0 %)",
                "new: 2",
                "  hv-strict d: 1 calls",
                "  none a: 1 calls",
                "gone: 1",
                "  hv-strict c: 100 calls",
            ]
        );
        assert_eq!(compare(&old, &old, Extent::Whole), Vec::<String>::new());
        assert!(!compare(&old, &new, Extent::Part).iter().any(|line| line.starts_with("gone")));
    }

    #[test]
    fn what_varies_is_neither_better_nor_worse() {
        let old = sample(&[("hv-strict", "a 100 calls\nb 100 calls")]);
        let mut new = sample(&[("hv-strict", "a 90 calls\nb 90 calls")]);
        new.variation.insert("hv-strict".to_owned(), serde_json::from_str(r#"{"a":0.08}"#).unwrap());
        assert_eq!(compare(&old, &new, Extent::Whole), ["better: 1", "  hv-strict b: 100 -> 90 calls (-10.0 %)"]);
        assert_eq!(compare(&new, &old, Extent::Whole), ["worse: 1", "  hv-strict b: 90 -> 100 calls (+11.1 %)"]);
        assert_eq!(new.tolerance("none", "a"), 0.0);
    }

    #[test]
    fn other_circumstances_are_told() {
        let (old, mut new) = (sample(&[]), sample(&[]));
        new.environment.qemu = "11.0".to_owned();
        assert_eq!(compare(&old, &new, Extent::Whole), ["circumstances differ: QEMU: 10.0.2 -> 11.0"]);
    }
}
