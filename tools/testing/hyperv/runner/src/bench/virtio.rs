// SPDX-License-Identifier: GPL-2.0
//! virtio-iommu's driver in Rust beside that in C: the same kernel, machine and device.

use super::configuration::tolerance;
use super::figure::Unit;
use super::reference::Flushing;
use super::results::Results;

/// A group of figures that are judged together, by how their names end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What it is called.
    pub name: &'static str,
    ends: &'static [&'static str],
}

/// What both drivers do.
pub const WORK: [Work; 3] = [
    Work { name: "map", ends: &["/map"] },
    Work { name: "unmap", ends: &["/unmap"] },
    Work { name: "domains", ends: &["domain/create", "domain/attach", "domain/detach", "domain/free"] },
];

/// The figure of some work in which the driver in Rust takes most, relative to that in C.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// Instructions for each of the driver in C, less what two boots of one kernel may differ by.
    pub share: f64,
    /// Which figure it is, and its two values.
    pub detail: String,
}

/// The worst figure of some work. [`None`]: not measured with both drivers.
pub fn worst(results: &Results, flushing: Flushing, work: Work) -> Option<Worst> {
    let (c, rust) = (format!("virtio-{}", flushing.name()), format!("virtio-rust-{}", flushing.name()));
    let both = results.figures(&rust)?.iter().filter_map(|(metric, figure)| {
        let is_work = figure.unit == Unit::Instructions && work.ends.iter().any(|end| metric.ends_with(end));
        let peer = results.value(&c, metric).filter(|peer| is_work && *peer > 0.0)?;
        let share = figure.value / peer / (1.0 + tolerance(&rust, metric));
        Some(Worst { share, detail: format!("{metric}, the worst figure: {:.0} / {peer:.0}", figure.value) })
    });
    both.max_by(|a, b| a.share.total_cmp(&b.share))
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn the_worst_figure_decides() {
        let results = sample(&[
            ("virtio-strict", "dma/1p/1t/map 100 instructions\nsg/4x1p/map 200 instructions\na/map 1 calls"),
            ("virtio-rust-strict", "dma/1p/1t/map 90 instructions\nsg/4x1p/map 201 instructions\na/map 9 calls"),
        ]);
        let [map, unmap, _] = WORK;
        let found = worst(&results, Flushing::Strict, map).unwrap();
        assert_eq!(found.detail, "sg/4x1p/map, the worst figure: 201 / 200");
        assert!(found.share <= 1.0, "what two boots may differ by is no difference: {}", found.share);
        assert_eq!(worst(&results, Flushing::Strict, unmap), None);
        assert_eq!(worst(&results, Flushing::Deferred, map), None);
    }

    #[test]
    fn one_driver_alone_is_not_compared() {
        let results = sample(&[("virtio-rust-strict", "domain/attach 100 instructions")]);
        assert_eq!(worst(&results, Flushing::Strict, WORK[2]), None);
    }
}
