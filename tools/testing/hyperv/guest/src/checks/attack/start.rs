// SPDX-License-Identifier: GPL-2.0
//! Before anybody takes charge of a device: in the state that the host starts it in, while no IOMMU driver has asked for
//! it, and in the domain that the kernel makes for it, while no driver is bound to it.

use anyhow::{Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;

use super::rig::{Gate, Rig, Shot};
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen};
use super::window::{page_of, Arena, HugeArena};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};

const GATE: usize = 0;
const AT: usize = 0x1_0000;

/// When what the device has in its buffer can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// At any time: it is in bypass.
    Bypass,
    /// Afterwards, when a program has the device. Its buffer stays as it is.
    Program,
    /// Never: while this kernel runs, nothing opens a way for the device.
    Nothing,
}

/// The device as it is found.
struct Found {
    arena: HugeArena,
    rig: Rig,
    way: Way,
}

impl Found {
    fn open(context: &Context<'_>, way: Way) -> Result<Found> {
        let function = pci::find(pci::EDU)?;
        function.enable_bus_master()?;
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        let arena = HugeArena::new(vec![DmaBuffer::huge(HugePage::TwoMiB)?])?;
        Ok(Found { arena, rig: Rig::new(function, edu, Faults::listen(context.minihv)?), way })
    }

    /// The page through which the buffer is looked at. Its address is the physical one: where nothing protects memory, that
    /// is where the device writes.
    fn gate(&self) -> Gate {
        Gate { offset: GATE, iova: Iova(self.arena.physical() + GATE as u64) }
    }

    fn shot(&self, direction: Direction, expected: Expected) -> Shot {
        let target = Iova(self.arena.physical() + AT as u64);
        let aim = matches!(expected, Expected::Reaches(_)).then_some(AT..AT + PAGE);
        Shot { direction, target, length: PAGE, watch: vec![page_of(AT)], aim }
    }

    /// The device reads.
    fn read(&mut self, shot: &Shot) -> Result<Seen> {
        let gate = self.gate();
        match self.way {
            Way::Bypass => self.rig.attack(&self.arena, gate, shot),
            Way::Program => {
                let blind = self.rig.read_blind(&self.arena, shot)?;
                let session = Session::open_by(&self.rig.function, BackEnd::Type1)?;
                session.enable_bus_master()?;
                session.map_range(gate.iova, self.arena.pages(gate.offset, PAGE)).context("mapping the gate")?;
                self.rig.leaked(&self.arena, gate, blind)
            }
            Way::Nothing => {
                let fault = self.rig.read_blind(&self.arena, shot)?.fault;
                Ok(Seen::new(0, fault).noted("the buffer cannot be seen"))
            }
        }
    }

    /// The device writes. It cannot be given what to write where nothing is the way to its buffer: it has what it was made
    /// with, which is not what watched memory holds.
    fn write(&mut self, shot: &Shot) -> Result<Seen> {
        match self.way {
            Way::Bypass => self.rig.attack(&self.arena, self.gate(), shot),
            Way::Program | Way::Nothing => self.rig.write_armed(&self.arena, shot),
        }
    }
}

/// What the device does to memory that nobody mapped for it. It reads last: a program may have it then.
fn table(way: Way) -> Vec<Row<Found>> {
    let expected = |direction| match (way, direction) {
        (Way::Bypass, _) => Expected::Reaches(PAGE),
        (Way::Nothing, Direction::Read) => Expected::Faults,
        (Way::Nothing | Way::Program, _) => Expected::Blocked,
    };
    let row = |direction: Direction| {
        let expected = expected(direction);
        let id = format!("start-{expected}-{}", direction.word());
        Row::new(id, expected, move |found: &mut Found| {
            let shot = found.shot(direction, expected);
            match direction {
                Direction::Read => found.read(&shot),
                Direction::Write => found.write(&shot),
            }
        })
    };
    [Direction::Write, Direction::Read].into_iter().map(row).collect()
}

/// The device reaches memory: nobody has asked for protection yet.
const ATTACK_START_OPEN: Check = Check::new("attack-start", |c| attack(c, Way::Bypass, Machine::Protected));
/// The host blocks the device, and no driver asks for anything else.
const ATTACK_START_SHUT: Check = Check::new("attack-start", |c| attack(c, Way::Nothing, Machine::Protected));
const ATTACK_START_SHUT_BARE: Check = Check::new("attack-start", |c| attack(c, Way::Nothing, Machine::Unprotected));
/// The device is in the domain that the kernel has made for it, and no driver is bound.
const ATTACK_UNBOUND: Check = Check::new("attack-start", |c| attack(c, Way::Program, Machine::Protected));
const ATTACK_UNBOUND_BARE: Check = Check::new("attack-start", |c| attack(c, Way::Program, Machine::Unprotected));

fn attack(context: &mut Context<'_>, way: Way, machine: Machine) -> Result<Outcome> {
    let translation = {
        let function = pci::find(pci::EDU)?;
        context.minihv()?.device_translation(function.logical_id().context("edu has no logical id")?)?
    };
    context.reporter.note(&format!("translation: {translation:?}"));
    let mut found = Found::open(context, way)?;
    table::run(context, "attack-start", machine, &mut found, &table(way))
}

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "attack-start-open",
        summary: "attacks by a device that nobody took charge of, on a host that starts devices in bypass",
        checks: &[DEVICES, GROUPS, ATTACK_START_OPEN],
    },
    Scenario {
        name: "attack-start-shut",
        summary: "attacks by a device that its host blocks until somebody takes charge of it",
        checks: &[DEVICES, GROUPS, ATTACK_START_SHUT],
    },
    Scenario {
        name: "attack-start-shut-bare",
        summary: "the rows of attack-start-shut on a host that starts devices in bypass: all must fail",
        checks: &[DEVICES, GROUPS, ATTACK_START_SHUT_BARE],
    },
    Scenario {
        name: "attack-unbound",
        summary: "attacks by a device to which no driver is bound",
        checks: &[DEVICES, GROUPS, ATTACK_UNBOUND],
    },
    Scenario {
        name: "attack-unbound-bare",
        summary: "the rows of attack-unbound without protection: all must fail",
        checks: &[DEVICES, GROUPS, ATTACK_UNBOUND_BARE],
    },
];
