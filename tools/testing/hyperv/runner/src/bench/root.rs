// SPDX-License-Identifier: GPL-2.0
//! The IOMMU of the root partition: hypercalls of maps and unmaps, and how many the driver may make.

use super::configuration::ROOT;
use super::reference::Operation;
use super::results::Results;

/// The range whose calls are the largest share of those that are allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// The share; above 1 there are too many calls.
    pub share: f64,
    /// Which range it is, and both numbers.
    pub detail: String,
}

/// The worst of all ranges. A call that lacked memory was made again after a deposit, and counts once. [`None`]: not
/// measured.
pub fn worst(results: &Results, operation: Operation) -> Option<Worst> {
    let end = format!("/{}/calls", operation.name());
    let ranges = results.figures(ROOT)?.iter().filter_map(|(name, calls)| {
        let range = name.strip_suffix(&end)?;
        let of_it = |what: &str| results.value(ROOT, &format!("{range}/{}/{what}", operation.name()));
        let (allowed, deposits) = (of_it("allowed").filter(|allowed| *allowed > 0.0)?, of_it("deposits")?);
        let calls = calls.value - deposits;
        let detail = format!("{range}, the worst range: {calls:.0} of {allowed:.0}");
        Some(Worst { share: calls / allowed, detail })
    });
    ranges.max_by(|a, b| a.share.total_cmp(&b.share))
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn the_worst_range_decides() {
        let results = sample(&[(
            "root",
            "root/4k/1g/map/calls 534 calls\nroot/4k/1g/map/deposits 16 calls\nroot/4k/1g/map/allowed 519 calls\n\
             root/2m/1g/map/calls 2 calls\nroot/2m/1g/map/deposits 0 calls\nroot/2m/1g/map/allowed 3 calls\n\
             root/2m/1g/unmap/calls 76 calls\nroot/2m/1g/unmap/deposits 0 calls\nroot/2m/1g/unmap/allowed 75 calls",
        )]);
        let map = worst(&results, Operation::Map).unwrap();
        assert_eq!(map.detail, "root/4k/1g, the worst range: 518 of 519");
        assert!(map.share < 1.0);
        assert!(worst(&results, Operation::Unmap).unwrap().share > 1.0);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(worst(&sample(&[]), Operation::Map), None);
        assert_eq!(worst(&sample(&[("root", "root/4k/1g/map/calls 534 calls")]), Operation::Map), None);
    }
}
