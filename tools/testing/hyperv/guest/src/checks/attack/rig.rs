// SPDX-License-Identifier: GPL-2.0
//! edu as the attacker: what it writes is counted in watched memory, what it reads is looked for in its buffer.

use std::ops::Range;

use anyhow::{ensure, Result};
use hvcore::ids::Iova;

use super::table::{Direction, Seen};
use super::window::Arena;
use crate::edu::{Edu, Length};
use crate::faults::Faults;
use crate::memory::PAGE;
use crate::minihv::{Minihv, Stale};
use crate::pci::PciFunction;

/// What watched memory holds before the device writes.
pub const CANARY: u8 = 0x11;
/// What the device writes.
pub const WEAPON: u8 = 0xd7;
/// Secrets: what watched memory holds before the device reads. Each attack has its own.
const SECRETS: Range<u8> = 0x20..0x80;

/// A page of the arena that is mapped for the device: the way to its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Where the page is in the arena.
    pub offset: usize,
    /// Where the device sees it.
    pub iova: Iova,
}

/// One attack.
#[derive(Clone, Debug)]
pub struct Shot {
    /// What the device does.
    pub direction: Direction,
    /// The address that it names.
    pub target: Iova,
    /// Bytes.
    pub length: usize,
    /// The parts of the arena that are watched.
    pub watch: Vec<Range<usize>>,
    /// The part of it that the mapping lets the device at; it is watched, too.
    pub aim: Option<Range<usize>>,
}

/// A device has read blindly.
#[derive(Clone, Debug)]
pub struct Blind {
    /// What it may have got to know.
    secret: u8,
    /// Whether there was a fault.
    pub fault: bool,
    stale: String,
}

/// The attacker.
pub struct Rig {
    /// Its sysfs side.
    pub function: PciFunction,
    /// Its registers.
    pub edu: Edu,
    /// What the IOMMU reports.
    pub faults: Faults,
    secret: u8,
    /// Whether its buffer is full of what it writes.
    armed: bool,
    log: CacheLog,
}

/// What minihv's log of the caches is asked at each attack.
#[derive(Clone, Copy, Debug)]
pub enum CacheLog {
    /// Nothing: unmaps may be complete before their flush, or the device moves between domains meanwhile.
    Unasked,
    /// That nothing is stale of the device's domain. The emulated IOMMU caches less than another one may: what it does not
    /// reach is noticed by this alone.
    Clean(Minihv),
}

impl CacheLog {
    /// What is stale although it should not be; empty when nothing is, or when minihv keeps no log of the domain.
    fn stale(self, function: &PciFunction) -> Result<String> {
        let CacheLog::Clean(minihv) = self else { return Ok(String::new()) };
        let Some(id) = function.logical_id() else { return Ok(String::new()) };
        let Some(domain) = minihv.device_domain(id)? else { return Ok(String::new()) };
        Ok(match minihv.stale(domain)? {
            None | Some(Stale { pages: 0, tables: 0, .. }) => String::new(),
            Some(stale) => format!("caches may hold what is not mapped in domain {}: {stale:x?}", domain.0),
        })
    }
}

impl Rig {
    /// Takes edu.
    pub fn new(function: PciFunction, edu: Edu, faults: Faults) -> Rig {
        Rig { function, edu, faults, secret: SECRETS.start, armed: false, log: CacheLog::Unasked }
    }

    /// The same with minihv's log of the caches.
    pub fn logged(self, log: CacheLog) -> Rig {
        Rig { log, ..self }
    }

    /// The same device under another name, with its registers elsewhere.
    pub fn move_to(&mut self, function: PciFunction, edu: Edu) {
        self.function = function;
        self.edu = edu;
    }

    /// Its buffer is about to hold something else.
    pub fn disarm(&mut self) {
        self.armed = false;
    }

    /// Forgets faults that were reported so far.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settle(&mut self) -> Result<()> {
        self.faults.take_all().map(|_| ())
    }

    /// Whether the device has caused a fault since the last call.
    ///
    /// # Errors
    /// When faults cannot be read, or another device caused one.
    pub fn fault(&mut self) -> Result<bool> {
        Ok(self.faults.take_of(&self.function)? > 0)
    }

    /// Fills the device's buffer with what it writes.
    ///
    /// # Errors
    /// When the device does not finish, or does not reach the gate.
    pub fn arm(&mut self, arena: &dyn Arena, gate: Gate) -> Result<()> {
        if !self.armed {
            arena.window(gate.offset..gate.offset + PAGE).fill(WEAPON);
            self.edu.load(gate.iova)?;
            self.armed = true;
        }
        Ok(())
    }

    /// The device, which is armed, writes; how many bytes of the watched ranges changed.
    ///
    /// # Errors
    /// When the device does not finish, or bytes changed outside of what it aimed at.
    pub fn write_armed(&mut self, arena: &dyn Arena, shot: &Shot) -> Result<Seen> {
        shot.watch.iter().for_each(|range| arena.window(range.clone()).fill(CANARY));
        self.settle()?;
        let stale = self.log.stale(&self.function)?;
        self.edu.store_bytes(shot.target, Length::new(shot.length)?)?;
        let changed = |range: &Range<usize>| arena.window(range.clone()).count(|byte| byte != CANARY);
        let bytes = shot.watch.iter().map(changed).sum();
        if let Some(aim) = shot.aim.as_ref().filter(|aim| aim.len() == shot.length) {
            let hit = arena.window(aim.clone()).count(|byte| byte == WEAPON);
            ensure!(hit == bytes, "{bytes} bytes changed, {hit} of them where the mapping points");
        }
        Ok(Seen::new(bytes, self.fault()?).strayed(stale))
    }

    /// The device reads; what it got to know stays in its buffer.
    ///
    /// # Errors
    /// When the device does not finish.
    pub fn read_blind(&mut self, arena: &dyn Arena, shot: &Shot) -> Result<Blind> {
        self.secret = if self.secret + 1 < SECRETS.end { self.secret + 1 } else { SECRETS.start };
        // What must come from one place is a secret only there.
        let hidden = match &shot.aim {
            Some(aim) if aim.len() == shot.length => CANARY,
            _ => self.secret,
        };
        shot.watch.iter().for_each(|range| arena.window(range.clone()).fill(hidden));
        if let Some(aim) = &shot.aim {
            arena.window(aim.clone()).fill(self.secret);
        }
        self.settle()?;
        self.armed = false;
        let stale = self.log.stale(&self.function)?;
        self.edu.load_bytes(shot.target, Length::new(shot.length)?)?;
        Ok(Blind { secret: self.secret, fault: self.fault()?, stale })
    }

    /// How many bytes of the secret the device's buffer holds after it has read, now that the gate is open.
    ///
    /// # Errors
    /// When the device does not finish, or does not reach the gate.
    pub fn leaked(&mut self, arena: &dyn Arena, gate: Gate, blind: Blind) -> Result<Seen> {
        let page = arena.window(gate.offset..gate.offset + PAGE);
        page.fill(CANARY);
        self.edu.store(gate.iova)?;
        ensure!(page.count(|byte| byte != CANARY) > 0, "the device does not reach the page that is mapped for it");
        Ok(Seen::new(page.count(|byte| byte == blind.secret), blind.fault).strayed(blind.stale))
    }

    /// One attack, with the gate open.
    ///
    /// # Errors
    /// When the device does not finish, does not reach the gate, or reaches what it did not aim at.
    pub fn attack(&mut self, arena: &dyn Arena, gate: Gate, shot: &Shot) -> Result<Seen> {
        match shot.direction {
            Direction::Write => {
                self.arm(arena, gate)?;
                self.write_armed(arena, shot)
            }
            Direction::Read => {
                let blind = self.read_blind(arena, shot)?;
                self.leaked(arena, gate, blind)
            }
        }
    }
}
