// SPDX-License-Identifier: GPL-2.0
//! Bypass: what a device reaches in the identity domain. All of the guest's memory, but not the hypervisor's.

use anyhow::{Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;

use super::dma_api::Kernel;
use super::hypervisor::NOT_MAPPED_AT_ALL;
use super::module::Flow;
use super::rig::Shot;
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen};
use super::window::{page_of, Arena};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};

const AT: usize = 0x1_0000;
const HYPERVISOR: [(&str, u64); 2] = [("first", 0x0080_0000), ("later", 0x0090_0000)];

/// The device in bypass, and another one that a program has behind a table.
struct Bare {
    kernel: Kernel,
    minihv: Minihv,
    other: PciFunction,
    _session: Session,
    _buffer: DmaBuffer,
}

impl Bare {
    fn open(context: &Context<'_>) -> Result<Bare> {
        let mut kernel = Kernel::open(context)?;
        let other = pci::all()?.into_iter().filter(|f| f.id == pci::EDU).nth(1).context("only one edu")?;
        let session = Session::open_by(&other, BackEnd::Type1)?;
        let buffer = DmaBuffer::new(1)?;
        session.map(crate::witness::at(0), &buffer, 0, 1)?;
        kernel.rig.settle()?;
        Ok(Bare { kernel, minihv: context.minihv()?, other, _session: session, _buffer: buffer })
    }

    fn fire(&mut self, target: Iova, direction: Direction) -> Result<Seen> {
        let aim = Some(AT..AT + PAGE);
        self.kernel.fire(&Shot { direction, target, length: PAGE, watch: vec![page_of(AT)], aim })
    }

    /// Reads the root of the other device's table; the bytes that are not zero there.
    fn read_table(&mut self) -> Result<Seen> {
        let id = self.other.logical_id().context("edu has no logical id")?;
        let domain = self.minihv.device_domain(id)?.context("edu is in no domain")?;
        let root = self.minihv.domain_root(domain)?;
        let (gate, rig) = (self.kernel.gate, &mut self.kernel.rig);
        rig.disarm();
        rig.settle()?;
        rig.edu.load(Iova(root.0))?;
        rig.edu.store(gate.iova)?;
        let fault = rig.fault()?;
        let page = self.kernel.module.window(gate.offset..gate.offset + PAGE);
        let mut known = 0;
        for index in 0..PAGE / 8 {
            let word = self.minihv.peek(hvcore::ids::Gpa(root.0 + 8 * index as u64))?;
            known += usize::from(word != 0 && page.word(index) == word);
        }
        let note = format!("{known} entries of the table at {:#x}", root.0);
        Ok(Seen::new(8 * known.min(1), fault).noted(note))
    }
}

fn table() -> Vec<Row<Bare>> {
    let mut rows = Vec::new();
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("identity-physical-{word}"), Expected::Reaches(PAGE), move |bare: &mut Bare| {
            bare.fire(Iova(bare.kernel.module.physical() + AT as u64), direction)
        }));
        rows.push(Row::new(format!("identity-after-unmap-{word}"), Expected::Reaches(PAGE), move |bare: &mut Bare| {
            let function = bare.kernel.rig.function.clone();
            let mapped = bare.kernel.module.map(&function, AT, PAGE, Flow::Both)?;
            bare.kernel.module.unmap(&mapped)?;
            bare.fire(mapped.iova(), direction)
        }));
        for (name, address) in HYPERVISOR {
            let id = format!("identity-hypervisor-{name}-{word}");
            rows.push(
                Row::new(id, Expected::Blocked, move |bare: &mut Bare| {
                    let shot =
                        Shot { direction, target: Iova(address), length: 8, watch: vec![page_of(AT)], aim: None };
                    bare.kernel.fire(&shot)
                })
                .unless(NOT_MAPPED_AT_ALL),
            );
        }
    }
    rows.push(Row::new("identity-other-table-read", Expected::Reaches(8), Bare::read_table));
    rows
}

/// Tries the table.
fn attack(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bare = Bare::open(context)?;
    table::run(context, "attack-identity", Machine::Protected, &mut bare, &table())
}

const ATTACK_IDENTITY: Check = Check::new("attack-identity", attack);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "attack-identity",
    summary: "attacks in bypass",
    checks: &[DEVICES, GROUPS, ATTACK_IDENTITY, VIOLATIONS],
}];
