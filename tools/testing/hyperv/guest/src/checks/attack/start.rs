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

const GATE: usize = 0;
const AT: usize = 0x1_0000;

/// The device as it is found.
struct Found {
    arena: HugeArena,
    rig: Rig,
}

impl Found {
    fn open(context: &Context<'_>) -> Result<Found> {
        let function = pci::find(pci::EDU)?;
        function.enable_bus_master()?;
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        let arena = HugeArena::new(vec![DmaBuffer::huge(HugePage::TwoMiB)?])?;
        Ok(Found { arena, rig: Rig::new(function, edu, Faults::listen(context.minihv)?) })
    }

    fn shot(&self, direction: Direction, expected: Expected) -> Shot {
        let target = Iova(self.arena.physical() + AT as u64);
        let aim = matches!(expected, Expected::Reaches(_)).then_some(AT..AT + PAGE);
        Shot { direction, target, length: PAGE, watch: vec![page_of(AT)], aim }
    }
}

/// What the device does to memory that nobody mapped for it.
fn table(expected: Expected) -> Vec<Row<Found>> {
    let row = |direction: Direction| {
        let id = format!("start-{expected}-{}", direction.word());
        Row::new(id, expected, move |found: &mut Found| {
            let shot = found.shot(direction, expected);
            let gate = Gate { offset: GATE, iova: Iova(found.arena.physical() + GATE as u64) };
            match (expected, direction) {
                (Expected::Reaches(_), _) => found.rig.attack(&found.arena, gate, &shot),
                // Nothing is the way to the device's buffer: it writes what it was made with, and what it read cannot be
                // seen.
                (_, Direction::Write) => found.rig.write_armed(&found.arena, &shot),
                (_, Direction::Read) => {
                    let (_, fault) = found.rig.read_blind(&found.arena, &shot)?;
                    Ok(Seen { bytes: 0, fault, note: "the buffer cannot be seen".to_owned() })
                }
            }
        })
    };
    Direction::BOTH.into_iter().map(row).collect()
}

/// The device reaches memory: nobody has asked for protection yet.
fn open(context: &mut Context<'_>) -> Result<Outcome> {
    attack(context, Expected::Reaches(PAGE))
}

const ATTACK_START_OPEN: Check = Check::new("attack-start", open);

/// The device is blocked.
fn shut(context: &mut Context<'_>) -> Result<Outcome> {
    attack(context, Expected::Blocked)
}

const ATTACK_START_SHUT: Check = Check::new("attack-start", shut);

fn attack(context: &mut Context<'_>, expected: Expected) -> Result<Outcome> {
    let translation = {
        let function = pci::find(pci::EDU)?;
        context.minihv()?.device_translation(function.logical_id().context("edu has no logical id")?)?
    };
    context.reporter.note(&format!("translation: {translation:?}"));
    let mut found = Found::open(context)?;
    table::run(context, "attack-start", Machine::Protected, &mut found, &table(expected))
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
        summary: "attacks by a device that is blocked until somebody takes charge of it",
        checks: &[DEVICES, GROUPS, ATTACK_START_SHUT],
    },
];
