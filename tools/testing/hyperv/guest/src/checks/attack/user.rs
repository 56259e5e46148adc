// SPDX-License-Identifier: GPL-2.0
//! Mappings that programs make, by type 1 containers and by iommufd.
//!
//! Each mapping's addresses are the physical addresses of the arena, which holds the memory behind the mapping, too, but
//! elsewhere. So what lies before and behind a mapping is the test's own memory on a machine without protection.

use std::ops::Range;

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::Iova;

use super::rig::{CacheLog, Gate, Rig, Shot};
use super::table::{Direction, Expected, Seen};
use super::window::{page_of, Arena, HugeArena, Window};
use crate::check::Context;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::iommufd::HwptId;
use crate::memory::{DmaBuffer, HugePage, Rights, PAGE};
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::session::{BackEnd, Session};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Where the gate is; the other place is for mappings that cover this one.
const GATE: usize = 16 * MIB;
const OTHER_GATE: usize = GIB + 16 * MIB;

/// A mapping: addresses and memory, by their place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the device sees it.
    pub iova: usize,
    /// What is behind it.
    pub memory: usize,
    /// Its length.
    pub bytes: usize,
}

/// Sizes of the pages that a mapping consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
    Giant,
}

impl Size {
    pub const ALL: [Size; 3] = [Size::Small, Size::Large, Size::Giant];

    pub fn word(self) -> &'static str {
        match self {
            Size::Small => "4k",
            Size::Large => "2m",
            Size::Giant => "1g",
        }
    }

    /// One page of this size. Of two giant pages there is only room for one before and one behind the middle of the
    /// arena.
    pub fn place(self, edge: Edge) -> Place {
        match (self, edge) {
            (Size::Small, _) => Place { iova: 32 * MIB, memory: 48 * MIB, bytes: PAGE },
            (Size::Large, _) => Place { iova: 64 * MIB, memory: 128 * MIB, bytes: 2 * MIB },
            (Size::Giant, Edge::Before | Edge::First | Edge::AcrossStart) => Place { iova: GIB, memory: 0, bytes: GIB },
            (Size::Giant, _) => Place { iova: 0, memory: GIB, bytes: GIB },
        }
    }
}

/// Two small pages in one mapping.
pub const SPAN: Place = Place { iova: 100 * MIB, memory: 116 * MIB, bytes: 2 * PAGE };
/// What is mapped after [`Size::Small`] at the same address.
pub const SECOND: Place = Place { iova: 32 * MIB, memory: 56 * MIB, bytes: PAGE };
/// What the other device has.
pub const PEER: Place = Place { iova: 160 * MIB, memory: 176 * MIB, bytes: PAGE };
/// What both have, each its own memory.
pub const SHARED: Place = Place { iova: 164 * MIB, memory: 180 * MIB, bytes: PAGE };
pub const PEER_SHARED: Place = Place { iova: 164 * MIB, memory: 184 * MIB, bytes: PAGE };
/// A page that is mapped nowhere.
pub const NOWHERE: usize = 80 * MIB;
/// Pages where an address of the interrupt window would arrive that lost its upper bits, or of which something else was
/// made: in both halves of the arena, whose gigantic pages begin at multiples of 1 GiB.
const CANARIES: [usize; 4] = [NOWHERE, NOWHERE + GIB, WINDOW_IN_GIB, WINDOW_IN_GIB + GIB];
/// The interrupt window as an offset in a gigantic page.
const WINDOW_IN_GIB: usize = 0xfee0_0000 % GIB;

/// Where an attack begins, as seen from a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The last byte before it.
    Before,
    /// Its first byte.
    First,
    /// Its last byte.
    Last,
    /// The first byte behind it.
    Behind,
    /// Half a page before it.
    AcrossStart,
    /// Half a page before its end.
    AcrossEnd,
}

impl Edge {
    pub fn word(self) -> &'static str {
        match self {
            Edge::Before => "before",
            Edge::First => "first",
            Edge::Last => "last",
            Edge::Behind => "behind",
            Edge::AcrossStart => "across-start",
            Edge::AcrossEnd => "across-end",
        }
    }

    /// The offset from the mapping's start.
    pub fn offset(self, bytes: usize) -> isize {
        let end = bytes as isize;
        match self {
            Edge::Before => -1,
            Edge::First => 0,
            Edge::Last => end - 1,
            Edge::Behind => end,
            Edge::AcrossStart => -(PAGE as isize) / 2,
            Edge::AcrossEnd => end - PAGE as isize / 2,
        }
    }
}

/// edu in user space's hands, another edu, and the arena.
pub struct User {
    /// minihv's test interface.
    pub minihv: Minihv,
    back_end: BackEnd,
    arena: HugeArena,
    /// Every function named edu.
    functions: Vec<PciFunction>,
    session: Option<Session>,
    peer: Option<Session>,
    /// The device as attacker.
    pub rig: Rig,
    gate: Gate,
    placed: Option<(Place, Rights)>,
    /// A domain that the device is about to leave.
    pub spare: Option<HwptId>,
}

/// Gigantic pages of the arena.
const GIGANTIC: usize = 2;

impl User {
    pub fn open(context: &Context<'_>, back_end: BackEnd) -> Result<User> {
        let functions: Vec<PciFunction> = pci::all()?.into_iter().filter(|f| f.id == pci::EDU).collect();
        let function = functions.first().context("no edu")?.clone();
        let buffers: Vec<DmaBuffer> =
            (0..GIGANTIC).map(|_| DmaBuffer::huge(HugePage::OneGiB)).collect::<Result<_>>()?;
        let arena = HugeArena::new(buffers)?;
        let session = Session::open_by(&function, back_end)?;
        session.enable_bus_master()?;
        let rig = User::rig(context.minihv()?, &function)?;
        let gate = Gate { offset: GATE, iova: Iova(arena.physical() + GATE as u64) };
        session.map_range(gate.iova, arena.pages(gate.offset, PAGE)).context("mapping the gate")?;
        Ok(User {
            minihv: context.minihv()?,
            back_end,
            arena,
            functions,
            session: Some(session),
            peer: None,
            rig,
            gate,
            placed: None,
            spare: None,
        })
    }

    /// The registers are mapped by sysfs: they stay when user space lets go of the device.
    fn rig(minihv: Minihv, function: &PciFunction) -> Result<Rig> {
        let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
        let rig = Rig::new(function.clone(), edu, Faults::listen(Some(minihv))?);
        // VFIO and iommufd wait for the flush of each unmap, whatever the kernel does for its own drivers.
        Ok(rig.logged(CacheLog::Clean(minihv)))
    }

    fn iova(&self, offset: usize) -> Iova {
        Iova(self.arena.physical() + offset as u64)
    }

    pub fn session(&self) -> Result<&Session> {
        self.session.as_ref().context("the device is closed")
    }

    /// The device's function.
    pub fn function(&self) -> &PciFunction {
        &self.rig.function
    }

    pub fn unmap_all(&mut self) -> Result<()> {
        if let Some((place, _)) = self.placed.take() {
            self.session()?.unmap(self.iova(place.iova), place.bytes / PAGE)?;
        }
        Ok(())
    }

    /// Has this mapping, and the gate, and nothing else.
    pub fn place(&mut self, place: Place, rights: Rights) -> Result<()> {
        if self.placed == Some((place, rights)) {
            return Ok(());
        }
        self.unmap_all()?;
        let offset = if (place.iova..place.iova + place.bytes).contains(&GATE) { OTHER_GATE } else { GATE };
        if offset != self.gate.offset {
            self.session()?.unmap(self.gate.iova, 1)?;
            self.gate = Gate { offset, iova: self.iova(offset) };
            self.session()?.map_range(self.gate.iova, self.arena.pages(offset, PAGE)).context("mapping the gate")?;
        }
        let memory = self.arena.pages(place.memory, place.bytes);
        self.session()?.map_for(self.iova(place.iova), memory, rights).with_context(|| format!("{place:x?}"))?;
        self.placed = Some((place, rights));
        Ok(())
    }

    /// An attack at an offset from the start of a mapping, whose memory is watched, as is what has the addresses as its
    /// physical ones. `expected` tells what of the mapping may be reached.
    pub fn shot(&self, place: Place, offset: isize, length: usize, direction: Direction, expected: Expected) -> Shot {
        let start = place.iova.wrapping_add_signed(offset);
        let mut watch = vec![page_of(start)];
        if page_of(start) != page_of(start + length - 1) {
            watch.push(page_of(start + length - 1));
        }
        let inside = offset.max(0)..(offset + length as isize).min(place.bytes as isize);
        let mut aim = None;
        if inside.start < inside.end {
            let hit = place.memory + inside.start as usize..place.memory + inside.end as usize;
            let (first, last) = (page_of(hit.start), page_of(hit.end - 1));
            watch.push(first.clone());
            if first != last {
                watch.push(last);
            }
            aim = matches!(expected, Expected::Reaches(_) | Expected::Part(_)).then_some(hit);
        }
        Shot { direction, target: self.iova(start), length, watch, aim }
    }

    pub fn fire(&mut self, shot: &Shot) -> Result<Seen> {
        self.rig.attack(&self.arena, self.gate, shot)
    }

    /// An attack on an address with no memory of the test's own behind it.
    pub fn fire_at(&mut self, target: Iova, length: usize, direction: Direction) -> Result<Seen> {
        self.fire(&Shot { direction, target, length, watch: Vec::new(), aim: None })
    }

    /// Memory of the test's own that nothing maps for the device, as parts of the arena, once nothing else is mapped.
    ///
    /// # Errors
    /// When what is mapped cannot be unmapped.
    pub fn canaries(&mut self) -> Result<Vec<Range<usize>>> {
        self.unmap_all()?;
        Ok(CANARIES.iter().map(|&canary| page_of(canary)).collect())
    }

    /// The device's address of a canary, which is its physical one.
    pub fn canary(&self) -> Iova {
        self.iova(CANARIES[0])
    }

    /// The page that the device's buffer goes through.
    pub fn gate_words(&self) -> Window<'_> {
        self.arena.window(self.gate.offset..self.gate.offset + PAGE)
    }

    /// A part of the arena.
    pub fn window(&self, range: Range<usize>) -> Window<'_> {
        self.arena.window(range)
    }

    /// The page that the device's buffer goes through.
    pub fn gate(&self) -> Iova {
        self.gate.iova
    }

    /// The device as attacker; what it was armed with is lost.
    pub fn rig_disarmed(&mut self) -> &mut Rig {
        self.rig.disarm();
        &mut self.rig
    }

    /// Uses a mapping in both directions, so that its translation is cached.
    pub fn warm(&mut self, place: Place, rights: Rights) -> Result<()> {
        self.place(place, rights)?;
        for offset in [0, place.bytes as isize - 1] {
            // Where it arrives is another row's business.
            let shot = Shot { aim: None, ..self.shot(place, offset, 1, Direction::Write, Expected::Reaches(1)) };
            let seen = self.fire(&shot)?;
            ensure!(Expected::Reaches(1).fits(&seen), "the mapping did not work at first: {seen:?}");
        }
        Ok(())
    }

    /// Lets go of the device; the driver stays vfio-pci.
    pub fn close(&mut self) {
        self.session = None;
        self.placed = None;
    }

    pub fn reopen(&mut self) -> Result<()> {
        let session = Session::open_by(&self.rig.function, self.back_end)?;
        session.enable_bus_master()?;
        session.map_range(self.gate.iova, self.arena.pages(self.gate.offset, PAGE)).context("mapping the gate")?;
        self.session = Some(session);
        Ok(())
    }

    /// An attack while the gate is shut, between `shut` and `open`.
    fn fire_shut(
        &mut self,
        shot: &Shot,
        shut: impl FnOnce(&mut User) -> Result<()>,
        open: impl FnOnce(&mut User) -> Result<()>,
    ) -> Result<Seen> {
        match shot.direction {
            Direction::Write => {
                self.rig.arm(&self.arena, self.gate)?;
                shut(self)?;
                let seen = self.rig.write_armed(&self.arena, shot)?;
                open(self)?;
                Ok(seen)
            }
            Direction::Read => {
                shut(self)?;
                let blind = self.rig.read_blind(&self.arena, shot)?;
                open(self)?;
                self.rig.leaked(&self.arena, self.gate, blind)
            }
        }
    }

    pub fn open_peer(&mut self) -> Result<()> {
        if self.peer.is_none() {
            let session = Session::open_by(self.functions.get(1).context("only one edu")?, self.back_end)?;
            for place in [PEER, PEER_SHARED] {
                session.map_range(self.iova(place.iova), self.arena.pages(place.memory, place.bytes))?;
            }
            self.peer = Some(session);
        }
        Ok(())
    }
}

impl User {
    /// Fills the device's buffer if it is to write: the way to it may be shut later.
    pub fn rig_arm_for(&mut self, direction: Direction) -> Result<()> {
        match direction {
            Direction::Write => self.rig.arm(&self.arena, self.gate),
            Direction::Read => Ok(()),
        }
    }

    /// An attack on a mapping that was used, after `shut` ended it.
    pub fn fire_after(
        &mut self,
        size: Size,
        direction: Direction,
        shut: impl FnOnce(&mut User) -> Result<()>,
        open: impl FnOnce(&mut User) -> Result<()>,
    ) -> Result<Seen> {
        let place = size.place(Edge::First);
        self.warm(place, Rights::ReadWrite)?;
        let shot = self.shot(place, 0, PAGE, direction, Expected::Blocked);
        self.fire_shut(&shot, shut, open)
    }
}
