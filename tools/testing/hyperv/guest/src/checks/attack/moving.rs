// SPDX-License-Identifier: GPL-2.0
//! A device that is moved between two domains while it does DMA.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;

use super::rig::{Gate, Rig, Shot};
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen};
use super::window::{Arena, HugeArena};
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
/// Transfers of a row.
const TRANSFERS: usize = 8;

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

    /// Transfers at one address; each must reach one page of `allowed`, whole, or cause a fault where `may_fault`.
    fn transfers(
        &mut self,
        direction: Direction,
        at: usize,
        allowed: &'static [usize],
        partly: Partly,
    ) -> Result<Seen> {
        let target = Iova(self.arena.physical() + at as u64);
        let third = [at, ONE_MEMORY, BOTH_MEMORY[0], BOTH_MEMORY[1]];
        let watch: Vec<_> = third.iter().map(|&page| page..page + PAGE).collect();
        let (faults, moves) = self.while_moving(|rig, arena, gate| {
            let mut faults = 0;
            for _ in 0..TRANSFERS {
                let shot = Shot { direction, target, length: PAGE, watch: watch.clone(), aim: None };
                let seen = rig.attack(arena, gate, &shot)?;
                if direction == Direction::Write {
                    let whole = |page: &usize| arena.window(*page..page + PAGE).count(|byte| byte == 0xd7) == PAGE;
                    let hit: Vec<usize> = third.iter().copied().filter(whole).collect();
                    ensure!(hit.iter().all(|page| allowed.contains(page)), "the device wrote {hit:x?}");
                    ensure!(hit.len() <= 1, "one transfer wrote {hit:x?}");
                }
                match (seen.bytes, seen.fault) {
                    (PAGE, false) => {}
                    (0, true) if partly == Partly::Unmapped => faults += 1,
                    other => bail!("{} bytes, fault {}", other.0, other.1),
                }
            }
            Ok(faults)
        })?;
        ensure!(moves as usize > TRANSFERS, "the device was moved {moves} times only");
        let note = format!("{faults} of {TRANSFERS} transfers blocked, {moves} moves");
        Ok(Seen { bytes: TRANSFERS * PAGE, fault: false, note })
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
        rows.push(Row::new(format!("moving-mapped-in-both-{word}"), sound, move |mover: &mut Mover| {
            mover.transfers(direction, BOTH, &BOTH_MEMORY, Partly::Mapped)
        }));
        rows.push(Row::new(format!("moving-mapped-in-one-{word}"), sound, move |mover: &mut Mover| {
            mover.transfers(direction, ONE, &[ONE_MEMORY], Partly::Unmapped)
        }));
    }
    rows
}

/// Tries the table.
fn attack(context: &mut Context<'_>) -> Result<Outcome> {
    let mut mover = Mover::open(context)?;
    table::run(context, "attack-moving", Machine::Protected, &mut mover, &table())
}

pub const ATTACK_MOVING: Check = Check::new("attack-moving", attack);
