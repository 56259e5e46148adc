// SPDX-License-Identifier: GPL-2.0
//! When two figures count as different, and what differs between two sets of them.

use super::figure::{Figure, Figures};

/// Relative difference up to which two figures count as the same.
pub const TOLERANCE: f64 = 0.005;
/// Figures have three decimal places; the last one says nothing about the relative difference of small ones.
const RESOLUTION: f64 = 0.001;

/// Whether two figures differ by more than the tolerance.
fn differ(a: f64, b: f64, tolerance: f64) -> bool {
    let difference = (a - b).abs();
    difference > tolerance * a.max(b) && difference > RESOLUTION * 1.5
}

/// A figure that differs, or that one of the two sets does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Name of the figure.
    pub name: String,
    /// In the first set.
    pub old: Option<Figure>,
    /// In the second one.
    pub new: Option<Figure>,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// Less of what is measured.
    Better,
    /// More of it.
    Worse,
    /// Different, neither better nor worse: what was done is not the same.
    Different,
    /// Not measured before.
    New,
    /// Not measured any more.
    Gone,
}

/// The ends of names of figures that say how much was asked for, or what is allowed, not what it cost.
const WORKLOAD: [&str; 2] = ["/needed", "/allowed"];

impl Change {
    /// What it means.
    pub fn meaning(&self) -> Meaning {
        match (self.old, self.new) {
            (Some(old), Some(new)) if old.unit != new.unit || WORKLOAD.iter().any(|end| self.name.ends_with(end)) => {
                Meaning::Different
            }
            (Some(old), Some(new)) if new.value < old.value => Meaning::Better,
            (Some(_), Some(_)) => Meaning::Worse,
            (None, _) => Meaning::New,
            (Some(_), None) => Meaning::Gone,
        }
    }

    /// `NAME: OLD -> NEW UNIT (+1.5 %)`.
    pub fn describe(&self) -> String {
        let name = &self.name;
        match (self.old, self.new) {
            (Some(old), Some(new)) if old.unit != new.unit => {
                format!("{name}: {old} {} -> {new} {}", old.unit, new.unit)
            }
            (Some(old), Some(new)) if old.value > 0.0 => {
                let percent = 100.0 * (new.value - old.value) / old.value;
                format!("{name}: {old} -> {new} {} ({percent:+.1} %)", new.unit)
            }
            (Some(old), Some(new)) => format!("{name}: {old} -> {new} {}", new.unit),
            (None, Some(one)) | (Some(one), None) => format!("{name}: {one} {}", one.unit),
            (None, None) => name.clone(),
        }
    }
}

/// What differs by more than the `tolerance` of its name, in the order of the names.
pub fn changes(old: &Figures, new: &Figures, tolerance: impl Fn(&str) -> f64) -> Vec<Change> {
    let changed = |(name, figure): (&str, Figure)| {
        let other = new.get(name);
        let same =
            other.is_some_and(|new| new.unit == figure.unit && !differ(figure.value, new.value, tolerance(name)));
        (!same).then(|| Change { name: name.to_owned(), old: Some(figure), new: other })
    };
    let added = |(name, figure): (&str, Figure)| {
        old.get(name).is_none().then(|| Change { name: name.to_owned(), old: None, new: Some(figure) })
    };
    let mut found: Vec<Change> = old.iter().filter_map(changed).chain(new.iter().filter_map(added)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(text: &str) -> Figures {
        Figures::read(text.lines()).unwrap()
    }

    #[test]
    fn half_a_percent_is_let_pass() {
        assert!(!differ(1000.0, 1000.0, TOLERANCE));
        assert!(!differ(1000.0, 1005.0, TOLERANCE));
        assert!(!differ(1005.0, 1000.0, TOLERANCE));
        assert!(differ(1000.0, 1006.0, TOLERANCE));
        assert!(differ(1006.0, 1000.0, TOLERANCE));
        assert!(!differ(1000.0, 1006.0, 0.05));
        assert!(differ(0.0, 1.0, TOLERANCE));
        assert!(!differ(0.0, 0.0, TOLERANCE));
    }

    #[test]
    fn the_last_place_of_a_small_figure_is_let_pass() {
        assert!(!differ(0.004, 0.003, TOLERANCE));
        assert!(differ(0.004, 0.002, TOLERANCE));
    }

    #[test]
    fn every_kind_of_change_is_found() {
        let old = figures(
            "bench: a 1000 calls\nbench: b 1000 calls\nbench: c 1000 calls\nbench: d 5 calls\nbench: f/needed 3 pages\n\
            bench: g 1 calls\nbench: h 0 calls",
        );
        let new = figures(
            "bench: a 1001 calls\nbench: b 900 calls\nbench: c 1100 calls\nbench: e 7 calls\nbench: f/needed 2 pages\n\
            bench: g 1 bytes\nbench: h 2 calls",
        );
        let found = changes(&old, &new, |_| TOLERANCE);
        let seen: Vec<(String, Meaning)> = found.iter().map(|c| (c.describe(), c.meaning())).collect();
        let expected = [
            ("b: 1000 -> 900 calls (-10.0 %)", Meaning::Better),
            ("c: 1000 -> 1100 calls (+10.0 %)", Meaning::Worse),
            ("d: 5 calls", Meaning::Gone),
            ("e: 7 calls", Meaning::New),
            ("f/needed: 3 -> 2 pages (-33.3 %)", Meaning::Different),
            ("g: 1 calls -> 1 bytes", Meaning::Different),
            ("h: 0 -> 2 calls", Meaning::Worse),
        ];
        assert_eq!(seen, expected.map(|(text, meaning)| (text.to_owned(), meaning)));
        assert_eq!(changes(&old, &old, |_| TOLERANCE), []);
    }
}
