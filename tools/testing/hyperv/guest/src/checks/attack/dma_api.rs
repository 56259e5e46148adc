// SPDX-License-Identifier: GPL-2.0
//! Mappings that a kernel driver makes by the DMA API.

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;

use super::module::{Flow, Mapped, Module, DRIVER};
use super::rig::{CacheLog, Gate, Rig, Shot};
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen, Unprotected};
use super::window::{page_of, Arena};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::edu::{Edu, Length, BAR_BYTES};
use crate::faults::Faults;
use crate::memory::PAGE;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use hvprotocol::options::DomainMode;

const MIB: usize = 1 << 20;
/// Where the gate is in the arena.
const GATE: usize = 0x1000;
/// The page that single mappings are made of, with pages of the test's own on both sides.
const PAGE_AT: usize = 0x1_0000;
/// The other device's page.
const PEER_AT: usize = 0x2_0000;
/// 2 MiB: one leaf of the table.
const LARGE_AT: usize = 2 * MIB;
/// Pieces of a list.
const PIECES: [(usize, usize); 3] = [(0x4_0000, PAGE), (0x5_0000, 2 * PAGE), (0x6_0000, PAGE)];
/// Pages that take the place beside the gate, so that what is attacked does not, and how many at most.
const FILLER_AT: usize = 0x10_0000;
const FILLERS: usize = 16;
/// A small buffer in the middle of its page.
const SMALL_AT: usize = 0x7_0000 + 0x400;
const SMALL_BYTES: usize = 64;

/// The device in the hands of the module.
pub struct Kernel {
    /// The module.
    pub module: Module,
    /// The device.
    pub rig: Rig,
    /// The way to its buffer.
    pub gate: Gate,
    gate_mapped: Mapped,
    peer: Option<PciFunction>,
}

impl Kernel {
    /// Gives every edu to the module.
    ///
    /// # Errors
    /// When the module or a device is missing.
    pub fn open(context: &Context<'_>) -> Result<Kernel> {
        let mut module = Module::load(None)?;
        let functions: Vec<PciFunction> = pci::all()?.into_iter().filter(|f| f.id == pci::EDU).collect();
        functions.iter().try_for_each(|function| function.bind(DRIVER))?;
        let function = functions.first().context("no edu")?.clone();
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        let gate_mapped = module.map(&function, GATE, PAGE, Flow::Both)?;
        let gate = Gate { offset: GATE, iova: gate_mapped.iova() };
        let log = match (context.options.mode, context.minihv) {
            (DomainMode::Strict, Some(minihv)) => CacheLog::Clean(minihv),
            _ => CacheLog::Unasked,
        };
        let rig = Rig::new(function, edu, Faults::listen(context.minihv)?).logged(log);
        Ok(Kernel { module, rig, gate, gate_mapped, peer: functions.get(1).cloned() })
    }

    /// One attack with the gate open.
    ///
    /// # Errors
    /// See [`Rig::attack`].
    pub fn fire(&mut self, shot: &Shot) -> Result<Seen> {
        self.rig.attack(&self.module, self.gate, shot)
    }

    /// Maps, attacks, unmaps.
    fn with(
        &mut self,
        map: impl FnOnce(&mut Module, &PciFunction) -> Result<Mapped>,
        attack: impl FnOnce(&mut Kernel, &Mapped) -> Result<Seen>,
    ) -> Result<Seen> {
        let function = self.rig.function.clone();
        let mapped = map(&mut self.module, &function)?;
        let seen = attack(self, &mapped);
        self.module.unmap(&mapped)?;
        seen
    }

    /// The same with a mapping that has no other one next to it. `bytes` is its length.
    fn with_apart(
        &mut self,
        bytes: usize,
        map: impl Fn(&mut Module, &PciFunction) -> Result<Mapped>,
        attack: impl FnOnce(&mut Kernel, &Mapped) -> Result<Seen>,
    ) -> Result<Seen> {
        let function = self.rig.function.clone();
        let gate = self.gate.iova.0;
        let mut fillers = Vec::new();
        let mapped = loop {
            let mapped = map(&mut self.module, &function)?;
            let start = mapped.iova().0;
            if start + bytes as u64 != gate && gate + PAGE as u64 != start {
                break mapped;
            }
            // The place beside the gate goes to something else for as long as it takes.
            ensure!(fillers.len() < FILLERS, "every mapping is beside the gate at {gate:#x}");
            self.module.unmap(&mapped)?;
            let at = FILLER_AT + fillers.len() * PAGE;
            fillers.push(self.module.map(&function, at, PAGE, Flow::Both)?);
        };
        fillers.iter().try_for_each(|filler| self.module.unmap(filler))?;
        let seen = attack(self, &mapped);
        self.module.unmap(&mapped)?;
        seen
    }

    /// Uses a mapping, ends it, and attacks where it was.
    fn after_unmap(&mut self, offset: usize, bytes: usize, direction: Direction) -> Result<Seen> {
        let function = self.rig.function.clone();
        let mapped = self.module.map(&function, offset, bytes, Flow::Both)?;
        let last = offset + bytes - 1;
        let target = Iova(mapped.iova().0 + bytes as u64 - 1);
        let shot = Shot { direction: Direction::Write, target, length: 1, watch: vec![page_of(last)], aim: None };
        let warm = self.fire(&shot)?;
        self.module.unmap(&mapped)?;
        ensure!(warm.bytes == 1 && !warm.fault, "the mapping did not work at first: {warm:?}");
        self.fire(&Shot { direction, ..shot })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // A device that was withdrawn has no mappings any more.
        let _ = self.module.unmap(&self.gate_mapped);
    }
}

/// An attack on part of a mapping of a piece of the arena, which begins at `memory`.
fn shot(mapped: Iova, memory: usize, offset: isize, length: usize, direction: Direction, reaches: bool) -> Shot {
    let start = memory.wrapping_add_signed(offset);
    let mut watch = vec![page_of(start)];
    if page_of(start) != page_of(start + length - 1) {
        watch.push(page_of(start + length - 1));
    }
    let target = Iova(mapped.0.wrapping_add_signed(offset as i64));
    Shot { direction, target, length, watch, aim: reaches.then_some(start..start + length) }
}

fn single(rows: &mut Vec<Row<Kernel>>) {
    const SIZES: [(&str, usize, usize); 3] =
        [("4k", PAGE_AT, PAGE), ("64k", 0x8_0000, 0x1_0000), ("2m", LARGE_AT, 2 * MIB)];
    for (name, at, bytes) in SIZES {
        let end = bytes as isize;
        // Nothing of the test's own is behind the large one.
        let behind = bytes < 2 * MIB;
        let edges = [("before", -1), ("first", 0), ("last", end - 1), ("behind", end)];
        for (edge, offset) in edges.into_iter().filter(|(edge, _)| behind || *edge != "behind") {
            for direction in Direction::BOTH {
                let inside = (0..end).contains(&offset);
                let expected = if inside { Expected::Reaches(1) } else { Expected::Blocked };
                let id = format!("{name}-{edge}-{}", direction.word());
                rows.push(Row::new(id, expected, move |kernel: &mut Kernel| {
                    kernel.with_apart(
                        bytes,
                        |module, function| module.map(function, at, bytes, Flow::Both),
                        |kernel, mapped| kernel.fire(&shot(mapped.iova(), at, offset, 1, direction, inside)),
                    )
                }));
            }
        }
    }
    for length in [1, 3, 8, 511, 4096] {
        for direction in Direction::BOTH {
            let id = format!("span-{length}-{}", direction.word());
            rows.push(Row::new(id, Expected::Reaches(length), move |kernel: &mut Kernel| {
                let offset = PAGE as isize - (length as isize + 1) / 2;
                kernel.with(
                    |module, function| module.map(function, PAGE_AT, 2 * PAGE, Flow::Both),
                    |kernel, mapped| kernel.fire(&shot(mapped.iova(), PAGE_AT, offset, length, direction, true)),
                )
            }));
        }
    }
}

/// Mappings for one direction. A table of x86 has no pages that can be written but not read.
fn one_way(rows: &mut Vec<Row<Kernel>>) {
    for (name, flow) in [("to-device", Flow::ToDevice), ("from-device", Flow::FromDevice)] {
        for direction in Direction::BOTH {
            let forbidden = flow == Flow::ToDevice && direction == Direction::Write;
            let expected = if forbidden { Expected::Blocked } else { Expected::Reaches(PAGE) };
            let id = format!("{name}-{}", direction.word());
            rows.push(Row::new(id, expected, move |kernel: &mut Kernel| {
                kernel.with(
                    |module, function| module.map(function, PAGE_AT, PAGE, flow),
                    |kernel, mapped| kernel.fire(&shot(mapped.iova(), PAGE_AT, 0, PAGE, direction, !forbidden)),
                )
            }));
        }
    }
}

fn lists(rows: &mut Vec<Row<Kernel>>) {
    for (number, (at, bytes)) in PIECES.into_iter().enumerate() {
        for direction in Direction::BOTH {
            let id = format!("list-piece{number}-{}", direction.word());
            rows.push(Row::new(id, Expected::Reaches(PAGE), move |kernel: &mut Kernel| {
                kernel.with(
                    |module, function| module.map_list(function, Flow::Both, &PIECES),
                    |kernel, mapped| {
                        // The pieces are behind one another for the device, however many entries say so.
                        let before: usize = PIECES[..number].iter().map(|piece| piece.1).sum();
                        let start = match mapped.iovas.len() {
                            1 => Iova(mapped.iova().0 + before as u64),
                            _ => *mapped.iovas.get(number).context("the list is too short")?,
                        };
                        kernel.fire(&shot(start, at, (bytes - PAGE) as isize, PAGE, direction, true))
                    },
                )
            }));
        }
    }
}

/// Coherent memory; its content is seen through the module.
fn coherent(rows: &mut Vec<Row<Kernel>>) {
    for (name, bytes) in [("4k", PAGE), ("64k", 16 * PAGE)] {
        for (edge, offset) in [("first", 0), ("last", bytes - 1)] {
            let id = format!("coherent-{name}-{edge}-write");
            rows.push(Row::new(id, Expected::Reaches(1), move |kernel: &mut Kernel| {
                kernel.rig.arm(&kernel.module, kernel.gate)?;
                kernel.with(
                    |module, function| module.coherent(function, bytes),
                    |kernel, mapped| {
                        kernel.module.fill(mapped, 0x11)?;
                        kernel.rig.settle()?;
                        kernel.rig.edu.store_bytes(Iova(mapped.iova().0 + offset as u64), Length::new(1)?)?;
                        let left = kernel.module.count(mapped, 0x11)?;
                        Ok(Seen::new(bytes - left, kernel.rig.fault()?))
                    },
                )
            }));
        }
    }
    rows.push(Row::new("coherent-after-free-read", Expected::Blocked, |kernel: &mut Kernel| {
        let function = kernel.rig.function.clone();
        let mapped = kernel.module.coherent(&function, PAGE)?;
        kernel.rig.edu.load(mapped.iova())?;
        kernel.module.unmap(&mapped)?;
        let shot =
            Shot { direction: Direction::Read, target: mapped.iova(), length: PAGE, watch: Vec::new(), aim: None };
        kernel.fire(&shot)
    }));
}

/// Memory of the kernel that nobody mapped for the device.
fn unmapped(rows: &mut Vec<Row<Kernel>>) {
    for direction in Direction::BOTH {
        let id = format!("physical-address-{}", direction.word());
        rows.push(Row::new(id, Expected::Blocked, move |kernel: &mut Kernel| {
            let target = Iova(kernel.module.physical() + PAGE_AT as u64);
            let watch = vec![page_of(PAGE_AT)];
            kernel.fire(&Shot { direction, target, length: PAGE, watch, aim: None })
        }));
        let id = format!("physical-address-of-mapped-{}", direction.word());
        rows.push(Row::new(id, Expected::Blocked, move |kernel: &mut Kernel| {
            let target = Iova(kernel.module.physical() + PAGE_AT as u64);
            kernel.with(
                |module, function| module.map(function, PAGE_AT, PAGE, Flow::Both),
                |kernel, _| {
                    let watch = vec![page_of(PAGE_AT)];
                    kernel.fire(&Shot { direction, target, length: PAGE, watch, aim: None })
                },
            )
        }));
        let id = format!("other-device-iova-{}", direction.word());
        rows.push(Row::new(id, Expected::Blocked, move |kernel: &mut Kernel| {
            // The devices' address spaces are handed out alike. Of two pages of the peer, one at least has an IOVA at which
            // this device has no page of its own.
            let peer = kernel.peer.clone().context("only one edu")?;
            let first = kernel.module.map(&peer, PEER_AT, PAGE, Flow::Both)?;
            let second = kernel.module.map(&peer, PEER_AT + PAGE, PAGE, Flow::Both)?;
            let (target, at) = match first.iova() {
                taken if taken == kernel.gate.iova => (second.iova(), PEER_AT + PAGE),
                free => (free, PEER_AT),
            };
            let seen = kernel.fire(&Shot { direction, target, length: PAGE, watch: vec![page_of(at)], aim: None });
            kernel.module.unmap(&first)?;
            kernel.module.unmap(&second)?;
            let note = format!("iova={:#x} gate={:#x}", target.0, kernel.gate.iova.0);
            seen.map(|seen| seen.noted(note))
        }));
    }
}

fn after_unmap(rows: &mut Vec<Row<Kernel>>) {
    for (name, at, bytes) in [("4k", PAGE_AT, PAGE), ("8k", PAGE_AT, 2 * PAGE), ("2m", LARGE_AT, 2 * MIB)] {
        for direction in Direction::BOTH {
            let id = format!("after-unmap-{name}-{}", direction.word());
            rows.push(Row::new(id, Expected::Blocked, move |kernel: &mut Kernel| {
                kernel.after_unmap(at, bytes, direction)
            }));
        }
    }
}

/// The former driver's mappings, after it was unbound.
fn after_unbind(rows: &mut Vec<Row<Kernel>>) {
    rows.push(Row::new("after-unbind-write", Expected::Blocked, |kernel: &mut Kernel| {
        kernel.rig.arm(&kernel.module, kernel.gate)?;
        kernel.rig.function.unbind()?;
        kernel.rig.function.enable_bus_master()?;
        let target = kernel.gate_mapped.iova();
        let watch = vec![page_of(GATE)];
        let shot = Shot { direction: Direction::Write, target, length: PAGE, watch, aim: None };
        let seen = kernel.rig.write_armed(&kernel.module, &shot);
        kernel.rig.function.bind(DRIVER)?;
        let function = kernel.rig.function.clone();
        kernel.gate_mapped = kernel.module.map(&function, GATE, PAGE, Flow::Both)?;
        kernel.gate.iova = kernel.gate_mapped.iova();
        seen
    }));
}

/// The page round a buffer that is smaller. A table knows whole pages only.
fn neighbours(rows: &mut Vec<Row<Kernel>>) {
    for (edge, offset) in [("before", -1), ("first", 0), ("last", 63), ("behind", 64), ("page-start", -0x400)] {
        for direction in Direction::BOTH {
            let id = format!("small-buffer-{edge}-{}", direction.word());
            rows.push(Row::new(id, Expected::Reaches(1), move |kernel: &mut Kernel| {
                kernel.with(
                    |module, function| module.map(function, SMALL_AT, SMALL_BYTES, Flow::Both),
                    |kernel, mapped| kernel.fire(&shot(mapped.iova(), SMALL_AT, offset, 1, direction, true)),
                )
            }));
        }
    }
    // An untrusted device gets a page of swiotlb's instead. The buffer is at its start, with zeros behind it: they can be
    // reached, but are nobody's.
    for (edge, offset, expected) in [
        ("before", -1, Expected::Blocked),
        ("page-start", -0x400, Expected::Blocked),
        ("behind", 64, Expected::Reaches(0)),
    ] {
        for direction in Direction::BOTH {
            let id = format!("small-buffer-untrusted-{edge}-{}", direction.word());
            let row = Row::new(id, expected, move |kernel: &mut Kernel| {
                let function = kernel.rig.function.clone();
                kernel.module.distrust(&function)?;
                let seen = kernel.with(
                    |module, function| module.map(function, SMALL_AT, SMALL_BYTES, Flow::Both),
                    |kernel, mapped| kernel.fire(&shot(mapped.iova(), SMALL_AT, offset, 1, direction, false)),
                );
                kernel.module.trust(&function)?;
                seen
            });
            rows.push(row);
        }
    }
}

/// The rows that hold in a domain of this kind.
fn table(mode: DomainMode) -> Vec<Row<Kernel>> {
    let mut rows = Vec::new();
    single(&mut rows);
    one_way(&mut rows);
    lists(&mut rows);
    coherent(&mut rows);
    unmapped(&mut rows);
    neighbours(&mut rows);
    if mode != DomainMode::Deferred {
        after_unmap(&mut rows);
        after_unbind(&mut rows);
    } else {
        rows.retain(|row| row.id != "coherent-after-free-read");
    }
    let name = if mode == DomainMode::Deferred { "deferred" } else { "strict" };
    let freed = Unprotected::Untried("the memory is someone else's by then");
    let prefix = |row: Row<Kernel>| {
        let row = if row.id.starts_with("coherent-after") { row.unless(freed) } else { row };
        row.of(name)
    };
    rows.into_iter().map(prefix).collect()
}

/// Tries the table.
fn attack(context: &mut Context<'_>) -> Result<Outcome> {
    let mut kernel = Kernel::open(context)?;
    let rows = table(context.options.mode);
    table::run(context, "attack-dma-api", Machine::Protected, &mut kernel, &rows)
}

/// Tries the tables of both kinds of domains where nothing protects.
fn attack_bare(context: &mut Context<'_>) -> Result<Outcome> {
    let mut kernel = Kernel::open(context)?;
    let rows: Vec<_> = [DomainMode::Strict, DomainMode::Deferred].into_iter().flat_map(table).collect();
    table::run(context, "attack-dma-api", Machine::Unprotected, &mut kernel, &rows)
}

pub const ATTACK_DMA_API: Check = Check::new("attack-dma-api", attack);
const ATTACK_DMA_API_BARE: Check = Check::new("attack-dma-api", attack_bare);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "attack-dma-api",
        summary: "attacks on mappings of the DMA API, each unmap flushed at once",
        checks: &[DEVICES, GROUPS, ATTACK_DMA_API, VIOLATIONS],
    },
    Scenario {
        name: "attack-dma-api-bare",
        summary: "the rows of attack-dma-api and of attack-deferred's mappings without protection: all must fail",
        checks: &[DEVICES, ATTACK_DMA_API_BARE],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique() {
        for mode in [DomainMode::Strict, DomainMode::Deferred] {
            let rows = table(mode);
            assert_eq!(rows.iter().map(|row| &row.id).collect::<BTreeSet<_>>().len(), rows.len());
        }
    }
}
