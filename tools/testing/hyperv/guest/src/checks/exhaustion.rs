// SPDX-License-Identifier: GPL-2.0
//! Devices that reach few addresses, mapped by the DMA API until no address is left.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{Gpa, Iova};
use linkme::distributed_slice;
use nix::errno::Errno;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::attack::module::{Flow, Held, Module, DRIVER};
use crate::checks::attack::window::Arena;
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::hotplug::wait_until;
use crate::memory::PAGE;
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::vfio::errno;

/// Of so many places at least all but one must be had. The kernel keeps the first page, and the addresses of interrupts
/// and of bridges.
const KEPT_BELOW: u64 = 8;
/// The mask that a device has afterwards.
const WIDE: u32 = 64;

/// The addresses that a device reaches, and the size of the mappings that fill them.
#[derive(Clone, Copy, Debug)]
struct Room {
    bits: u32,
    bytes: usize,
}

/// The kernel caches small ranges of addresses that are freed, and no large ones.
const ROOMS: [Room; 2] = [Room { bits: 28, bytes: 4 * PAGE }, Room { bits: 32, bytes: 512 * PAGE }];

impl Room {
    /// The last address that the device reaches.
    fn last(self) -> u64 {
        (1 << self.bits) - 1
    }

    /// How many mappings there is room for.
    fn places(self) -> u64 {
        (1 << self.bits) / self.bytes as u64
    }

    /// Every mapping lies within the mask and has its addresses to itself, and there is no room for more.
    fn judge(self, held: Held) -> Result<()> {
        let end = held.highest.0 + self.bytes as u64 - 1;
        ensure!(end <= self.last(), "a mapping ends at {end:#x}, above a mask of {} bits", self.bits);
        ensure!(held.overlaps == 0, "{} of {} mappings share addresses", held.overlaps, held.count);
        let (count, places) = (held.count as u64, self.places());
        let least = places - places / KEPT_BELOW;
        ensure!((least..places).contains(&count), "{count} mappings where there is room for {places}");
        Ok(())
    }
}

/// What a refused call says; a call that is not refused is an error.
fn refusal<T: std::fmt::Debug>(call: &str, result: Result<T>, expected: Errno) -> Result<()> {
    match result {
        Err(error) if errno(&error) == Some(expected) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{call}: {expected} was expected")),
        Ok(got) => bail!("{call} gives {got:x?} where no address is left"),
    }
}

/// The device in the hands of the module.
struct Subject {
    module: Module,
    minihv: Minihv,
    function: PciFunction,
    edu: Edu,
    faults: Faults,
}

impl Subject {
    fn open(context: &Context<'_>) -> Result<Subject> {
        let (module, function) = (Module::load(None)?, pci::find(pci::EDU)?);
        function.bind(DRIVER)?;
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        Ok(Subject { module, minihv: context.minihv()?, function, edu, faults: Faults::listen(context.minihv)? })
    }

    /// Every way to map says that there is no address left.
    fn all_refuse(&mut self, room: Room) -> Result<()> {
        let Subject { module, function, .. } = self;
        // The module's own word for DMA_MAPPING_ERROR is EIO.
        refusal("dma_map_single()", module.map(function, 0, room.bytes, Flow::ToDevice), Errno::EIO)?;
        refusal("dma_map_sgtable()", module.map_list(function, Flow::ToDevice, &[(0, room.bytes)]), Errno::ENOMEM)?;
        refusal("dma_alloc_coherent()", module.coherent(function, room.bytes), Errno::ENOMEM)
    }

    fn leaf_is(&self, iova: Iova, expected: Option<Gpa>) -> Result<()> {
        let id = self.function.logical_id().context("edu has no logical id")?;
        let domain = self.minihv.device_domain(id)?.context("edu is in no domain")?;
        match (self.minihv.walk(domain, iova)?, expected) {
            (None, None) => Ok(()),
            (Some(leaf), Some(gpa)) if leaf.sends(iova, gpa) => Ok(()),
            (leaf, _) => bail!("the table holds {leaf:x?} for {:#x}, expected {expected:x?}", iova.0),
        }
    }

    /// The device reads the arena at both ends of what is mapped.
    fn both_ends_work(&mut self, held: Held) -> Result<()> {
        let arena = Gpa(self.module.physical());
        for iova in [held.lowest, held.highest] {
            self.leaf_is(iova, Some(arena))?;
            self.edu.load(iova)?;
            self.faults.expect_none().with_context(|| format!("reading at {:#x}", iova.0))?;
        }
        Ok(())
    }

    fn release(&mut self, held: Held) -> Result<()> {
        self.module.release()?;
        self.leaf_is(held.lowest, None)?;
        self.leaf_is(held.highest, None)
    }

    /// Fills what was emptied a moment ago: as full as it was, once the flush queue has let go of the addresses. Tells
    /// how many mappings were made at once.
    fn refill(&mut self, room: Room, before: Held) -> Result<usize> {
        let at_once = self.module.exhaust(&self.function, room.bytes)?.count;
        let mut now = before;
        wait_until("as many mappings as before", || {
            now = self.module.exhaust(&self.function, room.bytes)?;
            Ok(now.count >= before.count)
        })
        .with_context(|| format!("{} mappings, {} before", now.count, before.count))?;
        room.judge(now)?;
        ensure!(now.count == before.count, "{} mappings, {} before", now.count, before.count);
        Ok(at_once)
    }

    /// Fills the room, empties it, and fills it again, so many times altogether.
    fn fill(&mut self, room: Room, rounds: u64) -> Result<String> {
        self.module.set_mask(&self.function, room.bits)?;
        let held = self.module.exhaust(&self.function, room.bytes)?;
        room.judge(held)?;
        let mut at_once = Vec::new();
        for _ in 1..rounds {
            self.all_refuse(room)?;
            self.both_ends_work(held)?;
            self.release(held)?;
            at_once.push(self.refill(room, held)?);
        }
        self.all_refuse(room)?;
        self.release(held)?;
        Ok(format!(
            "{} bits: {} of {} mappings of {} KiB up to {:#x}, {at_once:?} before the queue was flushed",
            room.bits,
            held.count,
            room.places(),
            room.bytes >> 10,
            held.highest.0 + room.bytes as u64 - 1
        ))
    }
}

/// Every address that the device reaches is handed out, one more is refused, and all come back.
fn exhausted(context: &mut Context<'_>) -> Result<Outcome> {
    let mut subject = Subject::open(context)?;
    let rounds = context.options.rounds;
    for room in ROOMS {
        let seen = subject.fill(room, rounds).with_context(|| format!("{room:?}"))?;
        context.reporter.note(&seen);
    }
    subject.module.set_mask(&subject.function, WIDE)?;
    let mapped = subject.module.map(&subject.function, 0, PAGE, Flow::ToDevice).context("with a wide mask again")?;
    subject.module.unmap(&mapped)?;
    subject.function.unbind()?;
    Ok(Outcome::Pass(format!("{} rooms, {rounds} times each, as full every time", ROOMS.len())))
}

const IOVA_EXHAUSTED: Check = Check::new("addresses-run-out-and-come-back", exhausted);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "iova-exhausted",
    summary: "devices that reach few addresses are mapped until none is left (needs the attack module)",
    checks: &[DEVICES, GROUPS, IOVA_EXHAUSTED, NO_FAULTS, VIOLATIONS],
}];
