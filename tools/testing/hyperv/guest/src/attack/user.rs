// SPDX-License-Identifier: GPL-2.0
//! Mappings that programs make, by type 1 containers and by iommufd.
//!
//! Each mapping's addresses are the physical addresses of the arena, which holds the memory behind the mapping, too, but
//! elsewhere. So what lies before and behind a mapping is the test's own memory on a machine without protection.

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::Iova;

use super::rig::{Gate, Rig, Shot};
use super::window::{page_of, Arena, HugeArena};
use super::{hypervisor, Direction, Expected, Machine, Row, Seen, Unprotected};
use crate::control::Minihv;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::hotplug;
use crate::iommufd::HwptId;
use crate::memory::{DmaBuffer, HugePage, Rights, PAGE};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::vfio::{BackEnd, Session};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Where the gate is; the other place is for mappings that cover this one.
const GATE: usize = 16 * MIB;
const OTHER_GATE: usize = GIB + 16 * MIB;

/// A mapping: addresses and memory, by their place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    iova: usize,
    memory: usize,
    bytes: usize,
}

/// Sizes of the pages that a mapping consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
    Giant,
}

impl Size {
    const ALL: [Size; 3] = [Size::Small, Size::Large, Size::Giant];

    fn word(self) -> &'static str {
        match self {
            Size::Small => "4k",
            Size::Large => "2m",
            Size::Giant => "1g",
        }
    }

    /// One page of this size. Of two giant pages there is only room for one before and one behind the middle of the
    /// arena.
    fn place(self, edge: Edge) -> Place {
        match (self, edge) {
            (Size::Small, _) => Place { iova: 32 * MIB, memory: 48 * MIB, bytes: PAGE },
            (Size::Large, _) => Place { iova: 64 * MIB, memory: 128 * MIB, bytes: 2 * MIB },
            (Size::Giant, Edge::Before | Edge::First | Edge::AcrossStart) => Place { iova: GIB, memory: 0, bytes: GIB },
            (Size::Giant, _) => Place { iova: 0, memory: GIB, bytes: GIB },
        }
    }
}

/// Two small pages in one mapping.
const SPAN: Place = Place { iova: 100 * MIB, memory: 116 * MIB, bytes: 2 * PAGE };
/// What is mapped after [`Size::Small`] at the same address.
const SECOND: Place = Place { iova: 32 * MIB, memory: 56 * MIB, bytes: PAGE };
/// What the other device has.
const PEER: Place = Place { iova: 160 * MIB, memory: 176 * MIB, bytes: PAGE };
/// What both have, each its own memory.
const SHARED: Place = Place { iova: 164 * MIB, memory: 180 * MIB, bytes: PAGE };
const PEER_SHARED: Place = Place { iova: 164 * MIB, memory: 184 * MIB, bytes: PAGE };
/// A page that is mapped nowhere.
const NOWHERE: usize = 80 * MIB;

/// Where an attack begins, as seen from a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
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
    fn word(self) -> &'static str {
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
    fn offset(self, bytes: usize) -> isize {
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
    rig: Rig,
    gate: Gate,
    placed: Option<(Place, Rights)>,
    spare: Option<HwptId>,
}

/// Gigantic pages of the arena.
const GIGANTIC: usize = 2;

impl User {
    fn open(context: &Context<'_>, back_end: BackEnd) -> Result<User> {
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
        Ok(Rig::new(function.clone(), edu, Faults::listen(Some(minihv))?))
    }

    fn iova(&self, offset: usize) -> Iova {
        Iova(self.arena.physical() + offset as u64)
    }

    fn session(&self) -> Result<&Session> {
        self.session.as_ref().context("the device is closed")
    }

    /// The device's function.
    pub fn function(&self) -> &PciFunction {
        &self.rig.function
    }

    fn unmap_all(&mut self) -> Result<()> {
        if let Some((place, _)) = self.placed.take() {
            self.session()?.unmap(self.iova(place.iova), place.bytes / PAGE)?;
        }
        Ok(())
    }

    /// Has this mapping, and the gate, and nothing else.
    fn place(&mut self, place: Place, rights: Rights) -> Result<()> {
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
    fn shot(&self, place: Place, offset: isize, length: usize, direction: Direction, expected: Expected) -> Shot {
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

    fn fire(&mut self, shot: &Shot) -> Result<Seen> {
        self.rig.attack(&self.arena, self.gate, shot)
    }

    /// An attack on an address with no memory of the test's own behind it.
    pub fn fire_at(&mut self, target: Iova, length: usize, direction: Direction) -> Result<Seen> {
        self.fire(&Shot { direction, target, length, watch: Vec::new(), aim: None })
    }

    /// Fills the page that the device's buffer goes through.
    pub fn gate_words(&self) -> super::window::Window<'_> {
        self.arena.window(self.gate.offset..self.gate.offset + PAGE)
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
    fn warm(&mut self, place: Place, rights: Rights) -> Result<()> {
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
    fn close(&mut self) {
        self.session = None;
        self.placed = None;
    }

    fn reopen(&mut self) -> Result<()> {
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
                let (secret, fault) = self.rig.read_blind(&self.arena, shot)?;
                open(self)?;
                let bytes = self.rig.leaked(&self.arena, self.gate, secret)?;
                Ok(Seen { bytes, fault, note: String::new() })
            }
        }
    }

    fn open_peer(&mut self) -> Result<()> {
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

/// Attacks at the edges of one mapping of each size.
fn edges(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::Before, Edge::First, Edge::Last, Edge::Behind] {
            let expected = match edge {
                Edge::First | Edge::Last => Expected::Reaches(1),
                _ => Expected::Blocked,
            };
            at_edge(rows, size, edge, 1, expected);
        }
    }
    for size in [Size::Small, Size::Large] {
        for edge in [Edge::AcrossStart, Edge::AcrossEnd] {
            at_edge(rows, size, edge, PAGE, Expected::Part(PAGE / 2));
        }
    }
}

fn at_edge(rows: &mut Vec<Row<User>>, size: Size, edge: Edge, length: usize, expected: Expected) {
    for direction in Direction::BOTH {
        let id = format!("{}-{}-{}", size.word(), edge.word(), direction.word());
        rows.push(Row::new(id, expected, move |user: &mut User| {
            let place = size.place(edge);
            user.place(place, Rights::ReadWrite)?;
            let shot = user.shot(place, edge.offset(place.bytes), length, direction, expected);
            user.fire(&shot)
        }));
    }
}

/// Transfers of many lengths across the border of two mapped pages.
fn lengths(rows: &mut Vec<Row<User>>, lengths: &[usize]) {
    for &length in lengths {
        for direction in Direction::BOTH {
            let id = format!("span-{length}-{}", direction.word());
            let expected = Expected::Reaches(length);
            rows.push(Row::new(id, expected, move |user: &mut User| {
                user.place(SPAN, Rights::ReadWrite)?;
                let offset = PAGE as isize - (length as isize + 1) / 2;
                let shot = user.shot(SPAN, offset, length, direction, expected);
                user.fire(&shot)
            }));
        }
    }
}

/// Mappings that the device may only read.
fn read_only(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::First, Edge::Last] {
            for direction in Direction::BOTH {
                let expected = match direction {
                    Direction::Read => Expected::Reaches(1),
                    Direction::Write => Expected::Blocked,
                };
                let id = format!("ro-{}-{}-{}", size.word(), edge.word(), direction.word());
                rows.push(Row::new(id, expected, move |user: &mut User| {
                    let place = size.place(edge);
                    // Mapped anew: the emulated IOMMU reports no fault where it has the translation from a read before.
                    user.unmap_all()?;
                    user.place(place, Rights::Read)?;
                    let shot = user.shot(place, edge.offset(place.bytes), 1, direction, expected);
                    user.fire(&shot)
                }));
            }
        }
    }
}

/// Addresses that nobody mapped.
fn unmapped(rows: &mut Vec<Row<User>>) {
    const HOLE: Unprotected = Unprotected::Passes("there is no memory at that physical address");
    for direction in Direction::BOTH {
        rows.push(Row::new(format!("unmapped-{}", direction.word()), Expected::Blocked, move |user: &mut User| {
            let place = Place { iova: NOWHERE, memory: NOWHERE, bytes: PAGE };
            user.unmap_all()?;
            let shot = user.shot(place, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        for (name, address) in [("zero", 0x10_u64), ("aperture-end", 0xffff_ffff_fff8), ("beyond-aperture", 1 << 48)] {
            let row = Row::new(format!("{name}-{}", direction.word()), Expected::Blocked, move |user: &mut User| {
                user.unmap_all()?;
                user.fire_at(Iova(address), 8, direction)
            });
            rows.push(if address > 0xffff { row.unless(HOLE) } else { row });
        }
    }
}

/// Addresses that were used and are mapped no longer, or otherwise.
fn unmaps(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::First, Edge::Last] {
            for direction in Direction::BOTH {
                let id = format!("after-unmap-{}-{}-{}", size.word(), edge.word(), direction.word());
                rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| {
                    let place = size.place(edge);
                    user.warm(place, Rights::ReadWrite)?;
                    user.rig_arm_for(direction)?;
                    user.unmap_all()?;
                    let shot = user.shot(place, edge.offset(place.bytes), 1, direction, Expected::Blocked);
                    user.fire(&shot)
                }));
            }
        }
    }
    for direction in Direction::BOTH {
        let expected = Expected::Reaches(PAGE);
        rows.push(Row::new(format!("after-remap-{}", direction.word()), expected, move |user: &mut User| {
            user.warm(Size::Small.place(Edge::First), Rights::ReadWrite)?;
            user.place(SECOND, Rights::ReadWrite)?;
            let mut shot = user.shot(SECOND, 0, PAGE, direction, expected);
            shot.watch.push(page_of(Size::Small.place(Edge::First).memory));
            user.fire(&shot)
        }));
    }
}

/// What belongs to the other device.
fn others(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("other-domain-iova-{word}"), Expected::Blocked, move |user: &mut User| {
            user.open_peer()?;
            user.unmap_all()?;
            let shot = user.shot(PEER, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        rows.push(Row::new(format!("other-device-memory-{word}"), Expected::Blocked, move |user: &mut User| {
            user.open_peer()?;
            user.unmap_all()?;
            let place = Place { iova: PEER.memory, ..PEER };
            let shot = user.shot(place, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        let expected = Expected::Reaches(PAGE);
        rows.push(Row::new(format!("same-iova-in-two-domains-{word}"), expected, move |user: &mut User| {
            user.open_peer()?;
            user.place(SHARED, Rights::ReadWrite)?;
            let mut shot = user.shot(SHARED, 0, PAGE, direction, expected);
            shot.watch.push(page_of(PEER_SHARED.memory));
            user.fire(&shot)
        }));
    }
}

impl User {
    /// Fills the device's buffer if it is to write: the way to it may be shut later.
    fn rig_arm_for(&mut self, direction: Direction) -> Result<()> {
        match direction {
            Direction::Write => self.rig.arm(&self.arena, self.gate),
            Direction::Read => Ok(()),
        }
    }

    /// An attack on a mapping that was used, after `shut` ended it.
    fn fire_after(
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

/// Mappings whose owner is gone.
fn departed(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        for size in [Size::Small, Size::Large] {
            let id = format!("after-close-{}-{word}", size.word());
            rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| {
                let shut = |user: &mut User| {
                    user.close();
                    user.rig.function.set_bus_master()
                };
                user.fire_after(size, direction, shut, User::reopen)
            }));
        }
        rows.push(Row::new(format!("after-unbind-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                user.close();
                user.rig.function.unbind()?;
                user.rig.function.enable_bus_master()
            };
            user.fire_after(Size::Small, direction, shut, User::reopen)
        }));
        rows.push(Row::new(format!("after-new-offer-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                user.close();
                user.rig.function.unbind()?;
                let bus = hotplug::withdraw(user.minihv, &user.rig.function)?;
                let found = hotplug::offer(user.minihv, bus, 1)?;
                let function = found.into_iter().next().context("the device is not back")?;
                hotplug::wait_until("the device has a group", || Ok(function.group().is_some()))?;
                hotplug::wait_until("the device can be enabled", || Ok(function.enable_bus_master().is_ok()))?;
                // The device itself was not reset: its buffer is as it was.
                user.rig.move_to(function.clone(), Edu::new(function.map_bar0(BAR_BYTES)?)?);
                Ok(())
            };
            let open = |user: &mut User| {
                hotplug::bind(&user.rig.function, "vfio-pci")?;
                user.reopen()
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
    }
}

/// What only iommufd has: domains apart from devices.
fn domains(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("after-detach-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| user.session()?.iommufd()?.0.detach().context("detach");
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
        rows.push(Row::new(format!("after-move-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                let empty = space.iommufd.allocate_ioas().context("allocating an IOAS")?;
                cdev.attach(empty).context("attach")
            };
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
        rows.push(Row::new(format!("after-domain-free-{word}"), Expected::Blocked, move |user: &mut User| {
            // A domain of its own, whose mappings are those of the IOAS; the device is moved into an empty one, and the
            // first domain is deleted.
            let place = Size::Small.place(Edge::First);
            user.place(place, Rights::ReadWrite)?;
            let (cdev, space) = user.session()?.iommufd()?;
            let device = cdev.id()?;
            let hwpt = space.iommufd.allocate_hwpt(device, space.ioas).context("allocating a domain")?;
            cdev.attach_hwpt(hwpt).context("attach")?;
            user.spare = Some(hwpt);
            let shut = |user: &mut User| {
                let hwpt = user.spare.take();
                let (cdev, space) = user.session()?.iommufd()?;
                let empty = space.iommufd.allocate_ioas().context("allocating an IOAS")?;
                cdev.attach(empty).context("attach")?;
                space.iommufd.destroy_hwpt(hwpt.context("no domain")?).context("deleting the domain")
            };
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
    }
}

const MANY: [usize; 12] = [1, 2, 3, 7, 8, 63, 64, 511, 512, 2048, 4095, 4096];
const FEW: [usize; 2] = [8, 4096];

/// The table for one of the interfaces.
fn table(back_end: BackEnd) -> Vec<Row<User>> {
    let mut rows = Vec::new();
    edges(&mut rows);
    read_only(&mut rows);
    unmapped(&mut rows);
    unmaps(&mut rows);
    others(&mut rows);
    match back_end {
        BackEnd::Type1 => {
            lengths(&mut rows, &MANY);
            hypervisor::rows(&mut rows);
        }
        BackEnd::Iommufd => {
            lengths(&mut rows, &FEW);
            domains(&mut rows);
        }
    }
    departed(&mut rows);
    let name = match back_end {
        BackEnd::Type1 => "type1",
        BackEnd::Iommufd => "iommufd",
    };
    rows.into_iter().map(|row| Row { id: format!("{name}-{}", row.id), ..row }).collect()
}

/// Tries the table of one interface.
pub fn attack(context: &mut Context<'_>, back_end: BackEnd, machine: Machine) -> Result<Outcome> {
    let mut user = User::open(context, back_end)?;
    let name = match back_end {
        BackEnd::Type1 => "attack-type1",
        BackEnd::Iommufd => "attack-iommufd",
    };
    super::run(context, name, machine, &mut user, &table(back_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique() {
        let all: Vec<String> = BackEnd::ALL.into_iter().flat_map(table).map(|row| row.id).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.len() >= 150, "{}", all.len());
    }
}
