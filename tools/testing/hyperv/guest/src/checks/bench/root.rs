// SPDX-License-Identifier: GPL-2.0
//! Linux as the root partition: what it takes to map and unmap the memory of a guest, of a hypervisor that keeps the
//! tables.

use std::path::Path;

use anyhow::{ensure, Context as _, Result};
use linkme::distributed_slice;

use super::measurement::{measurement, Where};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, EDU_TYPE};
use crate::checks::leaks::memory_info;
use crate::checks::root::CLEAN;
use crate::instructions::{Binding, Figure, Module, Unit};
use crate::pci::write_sysfs;
use crate::ranges::{Range, Shape, LARGE};
use crate::report::Outcome;
use crate::root_debugfs::{self, DomainLine};
use crate::spare::Spare;

const GIB: u64 = 1 << 18;

/// Mappings and unmappings that take turns, in pages.
const SHORT: [(Shape, u64); 7] = [
    (Shape::Small, 1),
    (Shape::Small, 4),
    (Shape::Small, 16),
    (Shape::Small, 64),
    (Shape::Small, 512),
    (Shape::Large, 512),
    (Shape::SmallScattered, 512),
];

/// So often each of them.
const MANY: u32 = 256;
/// So often where calls alone are counted, on a kernel with all its checks.
const FEW: u32 = 2;
/// The largest range of such a kernel, in pages.
const WHOLE: u64 = (64 << 20) >> 12;

/// What is mapped once in a new domain, as when a guest starts, in pages.
const LONG: [(Shape, u64); 15] = [
    (Shape::Small, GIB / 4),
    (Shape::Small, GIB),
    (Shape::Small, 8 * GIB),
    (Shape::SmallScattered, GIB / 4),
    (Shape::SmallScattered, GIB),
    (Shape::Large, GIB / 4),
    (Shape::Large, GIB),
    (Shape::Large, 8 * GIB),
    (Shape::Large, 16 * GIB),
    (Shape::Large, 64 * GIB),
    (Shape::LargeScattered, GIB / 4),
    (Shape::LargeScattered, GIB),
    (Shape::LargeScattered, 8 * GIB),
    (Shape::LargeScattered, 16 * GIB),
    (Shape::LargeScattered, 64 * GIB),
];

/// Bytes of a leaf of the driver's record, as the kernel's allocator gives them: 184 are used.
const LEAF_BYTES: u64 = 192;
/// Bytes of a leaf's table.
const TABLE_BYTES: u64 = 4096;
/// From so many pages on, the record is large enough to be seen among all that the kernel allocates.
const VISIBLE: u64 = 16 * GIB;
/// The share of the record, in percent, up to which what the kernel has allocated meanwhile may differ from it.
const VISIBLE_PERCENT: u64 = 10;

/// Calls that a map made, those that the driver may make, and the same of an unmap. A call that lacks memory is made
/// again after a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    calls: u64,
    deposits: u64,
    allowed: u64,
}

impl Counted {
    fn check(self, what: &str) -> Result<Counted> {
        let Counted { calls, deposits, allowed } = self;
        let limit = allowed + deposits;
        ensure!(calls <= limit, "{what}: {calls} hypercalls, at most {limit} ({deposits} of them after deposits)");
        Ok(self)
    }
}

/// The figures of one operation: those of the module, under the range's name, and the calls that are allowed.
struct Operation<'a> {
    name: &'static str,
    allowed: u64,
    figures: &'a [Figure],
}

impl Operation<'_> {
    /// A whole number, rounded up where it is an average.
    fn value(&self, end: &str) -> Result<u64> {
        let name = format!("root/{}/{end}", self.name);
        let figure = self.figures.iter().find(|figure| figure.name == name);
        Ok(figure.with_context(|| format!("the module does not tell {name}"))?.thousandths.div_ceil(1000))
    }

    fn counted(&self, range: &Range) -> Result<Counted> {
        let counted = Counted { calls: self.value("calls")?, deposits: self.value("deposits")?, allowed: self.allowed };
        counted.check(&format!("{}/{}", range.name(), self.name))
    }

    fn named(&self, range: &Range) -> Vec<Figure> {
        let own = format!("root/{}", self.name);
        let own = self.figures.iter().filter_map(|figure| {
            let end = figure.name.strip_prefix(&own)?;
            Some(Figure { name: format!("{}/{}{end}", range.name(), self.name), ..figure.clone() })
        });
        let allowed = Figure::whole(format!("{}/{}/allowed", range.name(), self.name), self.allowed, Unit::Calls);
        own.chain([allowed]).collect()
    }
}

/// Both operations of figures that the module told.
fn operations<'a>(range: &Range, figures: &'a [Figure]) -> [Operation<'a>; 2] {
    [
        Operation { name: "map", allowed: range.maps_allowed(), figures },
        Operation { name: "unmap", allowed: range.unmaps_allowed(), figures },
    ]
}

/// What the driver's records take in all, by what it tells of them.
fn record_bytes(domains: &[DomainLine]) -> u64 {
    domains.iter().map(|line| line.leaves * LEAF_BYTES + line.tables * TABLE_BYTES).sum()
}

/// What the kernel has in small pieces that cannot be reclaimed.
fn slab_bytes() -> Result<u64> {
    write_sysfs(Path::new("/proc/sys/vm/stat_refresh"), "1")?;
    memory_info("SUnreclaim")
}

/// Whether what the kernel allocated is what the record is said to take.
fn is_seen(record: u64, slab: u64) -> bool {
    record.abs_diff(slab) * 100 <= record * VISIBLE_PERCENT
}

/// Maps a range in a new domain, looks at the record, and unmaps it.
fn once(module: &Module, range: &Range) -> Result<Vec<Figure>> {
    let (records, slab) = (record_bytes(&root_debugfs::domains()?), slab_bytes()?);
    let mut figures = module.run(&format!("root-map {}", range.words()))?;
    let record = record_bytes(&root_debugfs::domains()?).saturating_sub(records);
    let grown = slab_bytes()?.saturating_sub(slab);
    figures.extend(module.run("root-unmap")?);
    ensure!(
        range.pages() < VISIBLE || is_seen(record, grown),
        "{}: a record of {record} bytes by its parts, and the kernel allocated {grown}",
        range.name()
    );
    let mut named = Vec::new();
    for operation in operations(range, &figures) {
        operation.counted(range)?;
        named.extend(operation.named(range));
    }
    named.push(Figure::whole(format!("{}/record", range.name()), record, Unit::Bytes));
    Ok(named)
}

/// Maps and unmaps a range so many times. Returns what was measured, and the calls of both.
fn turns(module: &Module, range: &Range, ops: u32) -> Result<(Vec<Figure>, [Counted; 2])> {
    let figures = module.run(&format!("root-turns {} ops={ops}", range.words()))?;
    let [map, unmap] = operations(range, &figures);
    let counted = [map.counted(range)?, unmap.counted(range)?];
    Ok(([map.named(range), unmap.named(range)].concat(), counted))
}

/// The cost of ranges, from a page to the memory of a large guest.
fn root(context: &mut Context<'_>) -> Result<Outcome> {
    measurement(context, "root", Where::Minihv, |context| {
        let spare = Spare::find()?;
        let module = Module::bind(Binding::Owner)?;
        let mut figures = Vec::new();
        for (shape, pages) in SHORT {
            figures.extend(turns(&module, &Range::new(shape, pages, spare)?, MANY)?.0);
        }
        for (shape, pages) in LONG {
            figures.extend(once(&module, &Range::new(shape, pages, spare)?)?);
        }
        figures.iter().for_each(|figure| context.reporter.figure(figure));
        Ok(figures.len())
    })
}

const BENCH_ROOT: Check = Check::new("bench-root", root);

/// Lists of pages are as full as can be, whatever size the pages have.
fn full_lists(context: &mut Context<'_>) -> Result<Outcome> {
    context.minihv()?;
    let spare = Spare::find()?;
    let module = Module::bind(Binding::Owner)?;
    let mut seen = Vec::new();
    for (shape, pages) in [
        (Shape::Small, 1),
        (Shape::Small, LARGE),
        (Shape::Small, WHOLE),
        (Shape::Large, LARGE),
        (Shape::Large, WHOLE),
        (Shape::LargeScattered, WHOLE),
    ] {
        let range = Range::new(shape, pages, spare)?;
        let (_, [map, unmap]) = turns(&module, &range, FEW)?;
        seen.push(format!(
            "{} {} of {} and {} of {}",
            range.name(),
            map.calls,
            map.allowed,
            unmap.calls,
            unmap.allowed
        ));
    }
    Ok(Outcome::Pass(format!("calls that map and unmap: {}", seen.join(", "))))
}

const FULL_LISTS: Check = Check::new("root-lists-are-full", full_lists);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "bench-root",
        summary: "the root partition's IOMMU: what ranges from a page to 64 GiB cost, in instructions",
        checks: &[DEVICES, EDU_TYPE, BENCH_ROOT, CLEAN, VIOLATIONS],
    },
    Scenario {
        name: "root-batches",
        summary: "the root partition's IOMMU: hypercalls of a map and an unmap",
        checks: &[DEVICES, EDU_TYPE, FULL_LISTS, CLEAN, VIOLATIONS],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const SPARE: Spare = Spare { first: 5 * GIB - LARGE, pages: GIB + LARGE };

    fn figures(lines: &str) -> Vec<Figure> {
        lines.lines().map(|line| line.trim().parse().unwrap()).collect()
    }

    #[test]
    fn figures_get_the_ranges_name_and_the_limit() {
        let told = figures(
            "root/map 100.000 instructions
            root/map-hypervisor 60.000 instructions
            root/map/calls 1.000 calls
            root/unmap 50.000 instructions",
        );
        let range = Range::new(Shape::Small, 64, SPARE).unwrap();
        let [map, _] = operations(&range, &told);
        let names: Vec<String> = map.named(&range).iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "root/4k/64p/map 100.000 instructions",
                "root/4k/64p/map-hypervisor 60.000 instructions",
                "root/4k/64p/map/calls 1.000 calls",
                "root/4k/64p/map/allowed 2.000 calls",
            ]
        );
        assert!(map.counted(&range).is_err(), "deposits are missing");
    }

    #[test]
    fn more_calls_than_allowed_are_noticed() {
        let counted = |calls: &str, deposits: u64| {
            let told = figures(&format!("root/map/calls {calls} calls\nroot/map/deposits {deposits}.000 calls"));
            let range = Range::new(Shape::Small, GIB, SPARE).unwrap();
            let [map, _] = operations(&range, &told);
            map.counted(&range)
        };
        assert_eq!(counted("518.000", 0).unwrap(), Counted { calls: 518, deposits: 0, allowed: 519 });
        assert!(counted("519.000", 0).is_ok() && counted("519.001", 0).is_err());
        assert!(counted("535.000", 16).is_ok() && counted("536.000", 16).is_err());
    }

    #[test]
    fn the_record_is_what_was_allocated() {
        assert!(is_seen(1000, 1000) && is_seen(1000, 900) && is_seen(1000, 1100));
        assert!(!is_seen(1000, 899) && !is_seen(1000, 1101));
    }
}
