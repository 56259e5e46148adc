// SPDX-License-Identifier: GPL-2.0
//! A device that is moved between two domains while it does DMA.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;

use super::rig::{Gate, Rig, Shot, CANARY, WEAPON};
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen};
use super::window::{page_of, Arena, HugeArena};
use crate::check::{Check, Context};
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::iommufd::{Cdev, IoasId, Space};
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

const GATE: usize = 0;
/// An address that both domains map, each to its own memory.
const BOTH: usize = 0x1_0000;
const BOTH_MEMORY: [usize; 2] = [0x2_0000, 0x3_0000];
/// An address that only the first one maps.
const ONE: usize = 0x4_0000;
const ONE_MEMORY: usize = 0x5_0000;
/// Transfers of a row: so many at least, and at most so many until both outcomes have happened.
const TRANSFERS: usize = 8;
const TRANSFERS_MAX: usize = 100;

struct Mover {
    arena: HugeArena,
    rig: Rig,
    gate: Gate,
    cdev: Cdev,
    space: Space,
    second: IoasId,
}

impl Mover {
    fn open(context: &Context<'_>) -> Result<Mover> {
        let function = pci::find(pci::EDU)?;
        let arena = HugeArena::new(vec![DmaBuffer::huge(HugePage::TwoMiB)?])?;
        BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
        function.bind("vfio-pci")?;
        let space = Space::new()?;
        let second = space.iommufd.allocate_ioas().context("allocating an IOAS")?;
        let iova = |offset: usize| Iova(arena.physical() + offset as u64);
        for (ioas, both) in [(space.ioas, BOTH_MEMORY[0]), (second, BOTH_MEMORY[1])] {
            space.iommufd.map(ioas, iova(GATE), arena.pages(GATE, PAGE)).context("mapping the gate")?;
            space.iommufd.map(ioas, iova(BOTH), arena.pages(both, PAGE)).context("mapping a page")?;
        }
        space.iommufd.map(space.ioas, iova(ONE), arena.pages(ONE_MEMORY, PAGE)).context("mapping a page")?;
        let cdev = space.take(&function)?;
        cdev.device().enable_bus_master()?;
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        let gate = Gate { offset: GATE, iova: iova(GATE) };
        let rig = Rig::new(function, edu, Faults::listen(context.minihv)?);
        Ok(Mover { arena, rig, gate, cdev, space, second })
    }

    /// Does something while the device is moved to and fro; tells how often it was.
    fn while_moving<T>(&mut self, work: impl FnOnce(&mut Rig, &HugeArena, Gate) -> Result<T>) -> Result<(T, u64)> {
        let (stop, moves) = (AtomicBool::new(false), AtomicU64::new(0));
        let Mover { arena, rig, gate, cdev, space, second } = self;
        let (cdev, homes) = (&*cdev, [*second, space.ioas]);
        let result = thread::scope(|scope| {
            let mover = scope.spawn(|| -> Result<()> {
                for home in homes.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    cdev.attach(*home).context("attach")?;
                    moves.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let result = work(rig, arena, *gate);
            stop.store(true, Ordering::Relaxed);
            match mover.join() {
                Ok(moved) => moved.and(result),
                Err(_) => bail!("the thread that moves the device died"),
            }
        })?;
        Ok((result, moves.into_inner()))
    }

    /// Transfers at one address; each must reach one of the pages behind it, whole, or cause a fault where one of the
    /// domains does not map it. The address's own page, as a physical one, must not be reached.
    fn transfers(&mut self, direction: Direction, at: usize, behind: &'static [usize], partly: Partly) -> Result<Seen> {
        let target = Iova(self.arena.physical() + at as u64);
        let own = at..at + PAGE;
        let all: Vec<Range<usize>> = [ONE_MEMORY, BOTH_MEMORY[0], BOTH_MEMORY[1]].into_iter().map(page_of).collect();
        let (tally, moves) = self.while_moving(|rig, arena, gate| {
            let mut tally = Tally::default();
            while !tally.is_enough(partly) {
                // A secret is only where the domains may lead.
                let watch = match direction {
                    Direction::Write => all.iter().cloned().chain([own.clone()]).collect(),
                    Direction::Read => behind.iter().map(|&page| page_of(page)).collect(),
                };
                if direction == Direction::Read {
                    arena.window(own.clone()).fill(CANARY);
                }
                let seen = rig.attack(arena, gate, &Shot { direction, target, length: PAGE, watch, aim: None })?;
                let whole = |page: &usize| arena.window(page_of(*page)).count(|byte| byte == WEAPON) == PAGE;
                let arrived = direction == Direction::Read || behind.iter().filter(|page| whole(page)).count() == 1;
                match (seen.bytes, seen.fault) {
                    (PAGE, false) if arrived => tally.reached += 1,
                    (0, true) if partly == Partly::Unmapped => tally.blocked += 1,
                    (bytes, fault) => {
                        tally.stray =
                            format!("one transfer: {bytes} bytes, fault {fault}, where they should be: {arrived}");
                        break;
                    }
                }
            }
            Ok(tally)
        })?;
        ensure!(
            moves as usize > tally.transfers() || !tally.stray.is_empty(),
            "the device was moved {moves} times only"
        );
        let note = format!("{} of {} transfers blocked, {moves} moves", tally.blocked, tally.transfers());
        Ok(Seen::new(tally.reached * PAGE, tally.blocked > 0).strayed(tally.stray).noted(note))
    }
}

/// What came of the transfers so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    reached: usize,
    blocked: usize,
    stray: String,
}

impl Tally {
    fn transfers(&self) -> usize {
        self.reached + self.blocked
    }

    /// Where both may happen, both must: a device that is always in the same domain shows nothing.
    fn is_enough(&self, partly: Partly) -> bool {
        let both = partly == Partly::Mapped || self.reached > 0 && self.blocked > 0;
        self.transfers() >= TRANSFERS && both || self.transfers() >= TRANSFERS_MAX
    }
}

/// Whether one of the domains does not map the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partly {
    Mapped,
    Unmapped,
}

fn table() -> Vec<Row<Mover>> {
    let mut rows = Vec::new();
    for direction in Direction::BOTH {
        let word = direction.word();
        let sound = Expected::Reaches(TRANSFERS * PAGE);
        let both = Row::new(format!("moving-mapped-in-both-{word}"), sound, move |mover: &mut Mover| {
            mover.transfers(direction, BOTH, &BOTH_MEMORY, Partly::Mapped)
        });
        rows.push(both.and_nothing_else());
        let id = format!("moving-mapped-in-one-{word}");
        rows.push(Row::new(id, Expected::Sometimes, move |mover: &mut Mover| {
            mover.transfers(direction, ONE, &[ONE_MEMORY], Partly::Unmapped)
        }));
    }
    rows
}

/// Tries the table.
fn attack(context: &mut Context<'_>, machine: Machine) -> Result<Outcome> {
    let mut mover = Mover::open(context)?;
    table::run(context, "attack-moving", machine, &mut mover, &table())
}

pub const ATTACK_MOVING: Check = Check::new("attack-moving", |c| attack(c, Machine::Protected));
pub const ATTACK_MOVING_BARE: Check = Check::new("attack-moving", |c| attack(c, Machine::Unprotected));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_happen_where_both_may() {
        let enough = |reached, blocked, partly| Tally { reached, blocked, stray: String::new() }.is_enough(partly);
        assert!(enough(8, 0, Partly::Mapped) && !enough(7, 0, Partly::Mapped));
        assert!(!enough(8, 0, Partly::Unmapped) && !enough(0, 8, Partly::Unmapped));
        assert!(enough(1, 7, Partly::Unmapped) && !enough(1, 6, Partly::Unmapped));
        assert!(enough(TRANSFERS_MAX, 0, Partly::Unmapped), "the row fails then");
    }
}
