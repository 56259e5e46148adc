// SPDX-License-Identifier: GPL-2.0
//! What the driver is to reach, and whether it does.

use super::change::TOLERANCE;
use super::limit::Limit;
use super::objects::{DRIVER_TEXT, OBJECTS, TRACE_TEXT as TRACE_OBJECT};
use super::reference::{ratio, Flushing, Operation, PAGES};
use super::results::Results;
use super::root;
use super::virtio;

/// Instructions that a strict unmap is to stay below the C driver's.
const STRICT_UNMAP_GAIN: f64 = 25.0;
/// Unmaps that share a flush when it is deferred.
const UNMAPS_PER_FLUSH: f64 = 250.0;
/// Pages that may be flushed for each that has to be.
const FLUSHED_PER_NEEDED: f64 = 1.10;
/// What an operation may cost with four threads, relative to one.
const FOUR_THREADS: f64 = 1.05;
/// Hypercalls for each of 32 devices at boot.
const CALLS_PER_DEVICE: f64 = 3.0;
/// Instructions of the driver for a flush of one range.
pub const FLUSH_RANGE: f64 = 60.0;
/// Instructions of the driver for a flush of the whole domain.
pub const FLUSH_ALL: f64 = 19.0;
/// Instructions of virtio-iommu's driver in Rust for each of that in C.
const VIRTIO_SHARE: f64 = 1.0;
/// Hypercalls of the root partition's driver for each that is allowed.
const ROOT_SHARE: f64 = 1.0;
/// Bytes of text of the driver.
const TEXT: f64 = 12.0 * KIB;
/// Bytes of text of its tracepoints.
const TRACE_TEXT: f64 = 2.0 * KIB;
const KIB: f64 = 1024.0;

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// What it is about was not measured.
    Unmeasured,
}

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is to be reached.
    pub what: String,
    /// What was measured.
    measured: Option<f64>,
    /// What is allowed.
    limit: Limit,
    /// Decimal places of both numbers.
    places: usize,
    /// Where the measured number comes from.
    pub detail: String,
}

impl Target {
    fn at_most(what: impl Into<String>, limit: f64, places: usize, measured: Option<(f64, String)>) -> Target {
        let (measured, detail) = measured.map_or((None, String::new()), |(value, detail)| (Some(value), detail));
        Target { what: what.into(), measured, limit: Limit::AtMost(limit), places, detail }
    }

    /// Whether it is reached.
    pub fn state(&self) -> State {
        let reached = |value| if self.limit.holds(value) { State::Met } else { State::Missed };
        self.measured.map_or(State::Unmeasured, reached)
    }

    /// The measured number.
    pub fn measured(&self) -> String {
        self.measured.map_or_else(|| "-".to_owned(), |value| format!("{value:.*}", self.places))
    }

    /// The limit, with the relation.
    pub fn limit(&self) -> String {
        self.limit.describe(self.places)
    }
}

/// Instructions of this driver and of intel-iommu for one operation, by the method that the C driver was measured by.
/// Strict unmap is the guest's share.
pub fn instructions(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<(f64, f64)> {
    let metric = format!("ktime/{pages}p/{}", operation.name());
    let own = match (flushing, operation) {
        (Flushing::Strict, Operation::Unmap) => guest_share(results, flushing, pages)?,
        _ => results.value(flushing.own(), &metric)?,
    };
    Some((own, results.value(flushing.peer(), &metric)?))
}

/// Instructions of this driver's guest for one unmap, without the hypervisor's; none where those were not measured.
fn guest_share(results: &Results, flushing: Flushing, pages: u32) -> Option<f64> {
    let metric = format!("ktime/{pages}p/unmap");
    let hypervisor = format!("{metric}-hypervisor");
    results.value(flushing.own(), &hypervisor)?;
    results.without(flushing.own(), &metric, &[&hypervisor])
}

/// What would be left of a deferred unmap if the hypervisor took no instructions, where it takes `peer` with intel-iommu.
fn floor(results: &Results, pages: u32, peer: f64) -> Option<String> {
    let guest = guest_share(results, Flushing::Deferred, pages)?;
    Some(format!("; {:.3} without the hypervisor", guest / peer))
}

fn ratios(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for flushing in Flushing::ALL {
        for operation in Operation::ALL {
            for pages in PAGES {
                let Some(reference) = ratio(flushing, operation, pages) else { continue };
                let found = instructions(results, flushing, operation, pages);
                let (mode, operation_name) = (flushing.name(), operation.name());
                let what = format!("{mode} {operation_name}, {pages} pages: share of intel-iommu's instructions");
                let measured = found.map(|(own, peer)| {
                    let floor = match (flushing, operation) {
                        (Flushing::Deferred, Operation::Unmap) => floor(results, pages, peer),
                        _ => None,
                    };
                    (own / peer, format!("{own:.0} / {peer:.0}{}", floor.unwrap_or_default()))
                });
                targets.push(Target::at_most(what, reference * (1.0 + TOLERANCE), 3, measured));
            }
        }
    }
    targets
}

fn strict_unmap_gain(results: &Results) -> Vec<Target> {
    let target = |pages: u32| {
        let (flushing, operation) = (Flushing::Strict, Operation::Unmap);
        let what = format!("strict unmap, {pages} pages: instructions more than the C driver");
        let measured = instructions(results, flushing, operation, pages).and_then(|(own, peer)| {
            let reference = ratio(flushing, operation, pages)?;
            Some((own - reference * peer, format!("{own:.0} - {reference} * {peer:.0}")))
        });
        Target::at_most(what, -STRICT_UNMAP_GAIN, 0, measured)
    };
    PAGES.into_iter().map(target).collect()
}

/// Whether a figure is the number of hypercalls of an unmap that `flushing` says something about. Deferred flushes are
/// due every 10 ms, too, however few unmaps there were: only those of short operations tell how many share one.
fn is_calls_of_unmap(metric: &str, flushing: Flushing) -> bool {
    const SHORT: [&str; 2] = ["dma/", "unaligned/"];
    const OTHERS: [&str; 3] = ["pattern/", "sg/", "iommu/"];
    let is_one_of = |kinds: &[&str]| metric.ends_with("/calls") && kinds.iter().any(|kind| metric.starts_with(kind));
    match flushing {
        Flushing::Deferred => is_one_of(&SHORT),
        Flushing::Strict => {
            is_one_of(&SHORT)
                || is_one_of(&OTHERS)
                || (metric.ends_with("/unmap/calls") && metric.starts_with("iommufd/"))
        }
    }
}

/// The figure that is farthest from `wanted`, of those that count the hypercalls of unmaps. Where flushes are deferred,
/// fewer of them are better.
fn calls_per_unmap(results: &Results, flushing: Flushing, wanted: f64) -> Option<(f64, String)> {
    let off = |value: f64| match flushing {
        Flushing::Strict => (value - wanted).abs(),
        Flushing::Deferred => value - wanted,
    };
    let calls = results.figures(flushing.own())?.iter().filter(|(metric, _)| is_calls_of_unmap(metric, flushing));
    let worst = calls.max_by(|a, b| off(a.1.value).total_cmp(&off(b.1.value)));
    worst.map(|(metric, figure)| (figure.value, format!("of all unmaps, farthest off: {metric}")))
}

fn calls(results: &Results) -> Vec<Target> {
    let strict = Target {
        limit: Limit::Exactly(1.0),
        ..Target::at_most("strict: hypercalls per unmap", 1.0, 3, calls_per_unmap(results, Flushing::Strict, 1.0))
    };
    let limit = 1.0 / UNMAPS_PER_FLUSH;
    let deferred = calls_per_unmap(results, Flushing::Deferred, limit);
    vec![strict, Target::at_most("deferred: hypercalls per unmap", limit, 3, deferred)]
}

/// Pages flushed and pages needed over all ranges that are no single block, and what one covering descriptor each would
/// flush.
#[derive(Default)]
struct Precision {
    flushed: f64,
    needed: f64,
    covering: f64,
}

/// Pages of the smallest block of a descriptor that covers a range, in pages.
fn covering(first: u64, count: u64) -> u64 {
    1 << (u64::BITS - (first ^ (first + count - 1)).leading_zeros())
}

/// The first page and the number of pages of what `metric` is about, when that is no single block: `unaligned/0+3p/...`
/// by the DMA API, which aligns addresses to the size, or `iommu/5+7p/...` at that page of an address space.
fn range(metric: &str, needed: f64) -> Option<(u64, u64)> {
    let mut parts = metric.split('/');
    let (kind, (first, _)) = (parts.next()?, parts.next()?.split_once('+')?);
    // Whole pages, and few.
    let count = needed as u64;
    match kind {
        "unaligned" => Some((0, count)),
        "iommu" => Some((first.parse().ok()?, count)),
        _ => None,
    }
}

fn precision(results: &Results) -> Option<Precision> {
    let figures = results.figures(Flushing::Strict.own())?;
    let mut sum = Precision::default();
    for (metric, needed) in figures.iter() {
        let Some(mapping) = metric.strip_suffix("/needed") else { continue };
        let Some((first, count)) = range(metric, needed.value).filter(|(_, count)| *count > 0) else { continue };
        sum.flushed += figures.value(&format!("{mapping}/flushed"))?;
        sum.needed += needed.value;
        sum.covering += covering(first, count) as f64;
    }
    (sum.needed > 0.0).then_some(sum)
}

fn flushed_pages(results: &Results) -> Target {
    let measured = precision(results).map(|Precision { flushed, needed, covering }| {
        let covering = covering / needed;
        (flushed / needed, format!("{flushed:.0} / {needed:.0} pages; one covering descriptor: {covering:.3}"))
    });
    Target::at_most("odd ranges: pages flushed for each that needs it", FLUSHED_PER_NEEDED, 3, measured)
}

fn threads(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for flushing in Flushing::ALL {
        for operation in Operation::ALL {
            let operation = operation.name();
            let compared = PAGES.iter().filter_map(|pages| {
                let value = |threads| results.value(flushing.own(), &format!("dma/{pages}p/{threads}t/{operation}"));
                let (four, one) = (value(4)?, value(1)?);
                Some((four / one, format!("{pages} pages, the worst size: {four:.0} / {one:.0}")))
            });
            let what = format!("{} {operation}: 4 threads against 1", flushing.name());
            targets.push(Target::at_most(what, FOUR_THREADS, 3, compared.max_by(|a, b| a.0.total_cmp(&b.0))));
        }
    }
    targets
}

fn boot(results: &Results) -> Target {
    let calls = |devices: u32| results.value(&format!("hv-boot-{devices}"), "boot/calls");
    let measured = calls(32).map(|all| {
        let others = [1, 8].map(|devices| match calls(devices) {
            Some(calls) => format!("; {calls:.0} for {devices}"),
            None => String::new(),
        });
        (all / 32.0, format!("{all:.0} calls{}", others.concat()))
    });
    Target::at_most("boot with 32 devices: hypercalls per device", CALLS_PER_DEVICE, 3, measured)
}

fn figure(results: &Results, what: &str, configuration: &str, metric: &str, limit: f64) -> Target {
    let measured = results.value(configuration, metric).map(|value| (value, metric.to_owned()));
    Target::at_most(what, limit, 0, measured)
}

/// virtio-iommu's driver in Rust beside that in C. Domains do not depend on the mode, and are measured in one.
fn virtio(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for flushing in Flushing::ALL {
        for work in virtio::WORK.iter().filter(|work| flushing == Flushing::Strict || work.name != "domains") {
            let what = format!("virtio-iommu in Rust, {} {}: share of the C driver's", flushing.name(), work.name);
            let worst = virtio::worst(results, flushing, *work);
            targets.push(Target::at_most(what, VIRTIO_SHARE, 3, worst.map(|worst| (worst.share, worst.detail))));
        }
    }
    targets
}

/// Hypercalls of the root partition's driver, as a share of those that it may make.
fn root_calls(results: &Results) -> Vec<Target> {
    let target = |operation: Operation| {
        let what = format!("root partition, {}: share of the hypercalls that are allowed", operation.name());
        let worst = root::worst(results, operation);
        Target::at_most(what, ROOT_SHARE, 3, worst.map(|worst| (worst.share, worst.detail)))
    };
    Operation::ALL.into_iter().map(target).collect()
}

/// All targets, in the order in which they are shown.
pub fn targets(results: &Results) -> Vec<Target> {
    let strict = Flushing::Strict.own();
    let mut targets = ratios(results);
    targets.extend(strict_unmap_gain(results));
    targets.extend(calls(results));
    targets.push(flushed_pages(results));
    targets.extend(threads(results));
    targets.push(boot(results));
    targets.push(figure(
        results,
        "flush of one range: the driver's instructions",
        strict,
        "flush/iotlb-sync",
        FLUSH_RANGE,
    ));
    targets.push(figure(
        results,
        "flush of the domain: the driver's instructions",
        strict,
        "flush/flush-all",
        FLUSH_ALL,
    ));
    targets.push(figure(results, "text of the driver in bytes", OBJECTS, DRIVER_TEXT, TEXT));
    targets.push(figure(results, "text of its tracepoints in bytes", OBJECTS, TRACE_OBJECT, TRACE_TEXT));
    targets.extend(virtio(results));
    targets.extend(root_calls(results));
    targets
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    fn find(results: &Results, start: &str) -> Target {
        let mut found: Vec<Target> = targets(results).into_iter().filter(|t| t.what.starts_with(start)).collect();
        assert_eq!(found.len(), 1, "{start}");
        found.remove(0)
    }

    fn unmap(own: u32, hypervisor: u32, peer: u32) -> Results {
        let own = format!("ktime/16p/unmap {own} instructions\nktime/16p/unmap-hypervisor {hypervisor} instructions");
        sample(&[("hv-strict", &own), ("intel-strict", &format!("ktime/16p/unmap {peer} instructions"))])
    }

    #[test]
    fn strict_unmap_is_the_guests_share() {
        let good = unmap(1700, 400, 1874);
        let share = find(&good, "strict unmap, 16 pages: share");
        assert_eq!((share.state(), share.measured().as_str()), (State::Met, "0.694"));
        assert_eq!(share.limit(), "<= 0.727");
        let gain = find(&good, "strict unmap, 16 pages: instructions");
        assert_eq!((gain.state(), gain.measured().as_str(), gain.limit().as_str()), (State::Met, "-55", "<= -25"));
        let close = unmap(1740, 400, 1874);
        assert_eq!(find(&close, "strict unmap, 16 pages: share").state(), State::Met);
        assert_eq!(find(&close, "strict unmap, 16 pages: instructions").state(), State::Missed);
        assert_eq!(find(&unmap(1800, 400, 1874), "strict unmap, 16 pages: share").state(), State::Missed);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let nothing = sample(&[]);
        assert!(targets(&nothing).iter().all(|target| target.state() == State::Unmeasured));
        assert!(targets(&nothing).iter().all(|target| target.measured() == "-"));
        let no_share = sample(&[
            ("hv-strict", "ktime/16p/unmap 1 instructions"),
            ("intel-strict", "ktime/16p/unmap 2 instructions"),
        ]);
        assert_eq!(find(&no_share, "strict unmap, 16 pages: share").state(), State::Unmeasured);
    }

    #[test]
    fn map_and_deferred_unmap_count_in_full() {
        let results = sample(&[
            ("hv-deferred", "ktime/4p/unmap 968 instructions\nktime/4p/unmap-hypervisor 10 instructions"),
            ("intel-deferred", "ktime/4p/unmap 1000 instructions"),
        ]);
        let unmap = find(&results, "deferred unmap, 4 pages: share");
        assert_eq!(
            (unmap.measured().as_str(), unmap.detail.as_str()),
            ("0.968", "968 / 1000; 0.958 without the hypervisor")
        );
    }

    #[test]
    fn every_unmap_takes_one_call() {
        let strict = |lines: &str| find(&sample(&[("hv-strict", lines)]), "strict: hypercalls per unmap");
        assert_eq!(
            strict("dma/1p/1t/calls 1 calls\nsg/4x1p/calls 1.000 calls\ndomain/create/calls 2 calls\niommufd/1g/map/calls 0 calls").state(),
            State::Met
        );
        let twice = strict("dma/1p/1t/calls 1 calls\nunaligned/0+3p/calls 1.5 calls");
        assert_eq!(twice.state(), State::Missed);
        assert!(twice.detail.ends_with("unaligned/0+3p/calls"));
        assert_eq!(strict("dma/1p/1t/calls 0.9 calls\ndma/4p/1t/calls 1 calls").state(), State::Missed);
        let deferred = |calls: &str| {
            let lines = format!("dma/1p/1t/calls 0.001 calls\ndma/4p/1t/calls {calls} calls");
            find(&sample(&[("hv-deferred", &lines)]), "deferred: hypercalls per unmap")
        };
        assert_eq!([deferred("0.004").state(), deferred("0.005").state()], [State::Met, State::Missed]);
    }

    #[test]
    fn flushed_pages_are_summed() {
        let strict = |flushed: &str| {
            let lines = format!(
                "unaligned/0+3p/needed 3 pages\nunaligned/0+3p/flushed {flushed} pages\n\
                iommu/5+7p/needed 7 pages\niommu/5+7p/flushed 7 pages\ndma/1p/1t/needed 1 pages\n\
                iommu/2m/needed 512 pages"
            );
            find(&sample(&[("hv-strict", &lines)]), "odd ranges: pages")
        };
        assert_eq!((strict("4").state(), strict("5").state()), (State::Met, State::Missed));
        assert_eq!(strict("3").detail, "10 / 10 pages; one covering descriptor: 2.000");
        assert_eq!([covering(0, 3), covering(0, 4), covering(5, 7), covering(511, 2)], [4, 4, 16, 1024]);
    }

    #[test]
    fn the_worst_size_decides_about_threads() {
        let lines = "dma/1p/1t/map 100 instructions\ndma/1p/4t/map 101 instructions\n\
            dma/64p/1t/map 100 instructions\ndma/64p/4t/map 110 instructions";
        let map = find(&sample(&[("hv-strict", lines)]), "strict map: 4 threads");
        assert_eq!((map.state(), map.measured().as_str()), (State::Missed, "1.100"));
        assert!(map.detail.starts_with("64 pages"));
    }

    #[test]
    fn single_figures() {
        let results = sample(&[
            ("hv-strict", "flush/iotlb-sync 60 instructions\nflush/flush-all 20 instructions"),
            ("hv-boot-1", "boot/calls 7 calls"),
            ("hv-boot-32", "boot/calls 96 calls"),
            (OBJECTS, "hv_pviommu.o/text 12289 bytes\nhv_pviommu_trace.o/text 2048 bytes"),
        ]);
        assert_eq!(find(&results, "flush of one range").state(), State::Met);
        assert_eq!(find(&results, "flush of the domain").state(), State::Missed);
        assert_eq!(find(&results, "text of the driver").state(), State::Missed);
        assert_eq!(find(&results, "text of its tracepoints").state(), State::Met);
        let boot = find(&results, "boot with 32 devices");
        assert_eq!((boot.state(), boot.detail.as_str()), (State::Met, "96 calls; 7 for 1"));
    }
}
