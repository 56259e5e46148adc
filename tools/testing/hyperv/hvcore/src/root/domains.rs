// SPDX-License-Identifier: GPL-2.0
//! Device domains of a root partition (type S2): the partition names pages, the hypervisor keeps the tables.
//!
//! Two domains are there from the beginning: identity, over the partition's memory, where every requester starts, and the
//! one that blocks. A page that is unmapped is out of every cache when the call returns.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::dids::{self, DomainDids};
use super::memory::Pool;
use super::stage2::{Leaf, Table};
use super::PAGE_BYTES;
use crate::cachelog::{Finding, Stale, Strictness};
use crate::ids::{DomainId, Gpa, Iova, Rid};
use crate::platform::{LogLevel, Platform, RequesterTranslation};
use crate::request::refusal::Refusal;
use crate::request::root_domains::{Access, Name, Size};
use crate::status::Status;
use crate::vtd::did::Did;

/// Most requesters that are kept track of: each costs tables of its own.
const REQUESTERS_MAX: usize = 64;
/// IOVAs have this many bits.
pub const IOVA_BITS: u32 = 48;

/// Where a requester is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a domain.
    In(Name),
    /// Detached: blocked until it is attached again.
    Nowhere,
}

/// Pages of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The page that is mapped.
    pub target: Gpa,
    /// How much of it.
    pub size: Size,
    /// What the device may do.
    pub access: Access,
}

/// All domains, and the requesters that are not where they started.
pub struct Domains {
    strictness: Strictness,
    dids: DomainDids,
    domains: BTreeMap<DomainId, Table>,
    places: BTreeMap<Rid, Place>,
    /// What the log of the caches has found, and nobody has taken yet.
    findings: Vec<Finding>,
}

impl Domains {
    /// Every requester in identity, no domain besides the two. `strictness` says whether it is logged what caches may hold.
    pub fn new(strictness: Strictness) -> Domains {
        Domains {
            strictness,
            dids: DomainDids::new(),
            domains: BTreeMap::new(),
            places: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// Takes what the log of the caches has found since the last time: faults of the hypervisor's own.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        core::mem::take(&mut self.findings)
    }

    /// What caches may hold of a domain that its table no longer has; `None` when there is no log of it.
    pub fn stale(&self, id: DomainId) -> Option<Stale> {
        self.domains.get(&id)?.stale()
    }

    /// Domains that the partition has created.
    pub fn count(&self) -> u64 {
        self.domains.len() as u64
    }

    /// Creates a domain.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`], [`Status::INSUFFICIENT_DEVICE_DOMAINS`]; a violation for a name that is taken.
    pub fn create(&mut self, platform: &mut impl Platform, pool: &mut Pool, name: Name) -> Result<(), Refusal> {
        let Name::Own(id) = name else { return Err(Refusal::parameter("a domain that is always there, created")) };
        if self.domains.contains_key(&id) {
            return Err(Refusal::violation(Status::KEY_ALREADY_EXISTS, "a domain that exists"));
        }
        let root = Table::take_root(platform, pool)?;
        let Some(did) = self.dids.allocate() else {
            pool.release(root);
            return Err(Status::INSUFFICIENT_DEVICE_DOMAINS.into());
        };
        self.domains.insert(id, Table::new(platform, root, did, id, self.strictness));
        Ok(())
    }

    /// Deletes a domain.
    ///
    /// # Errors
    /// A violation: one that is not there, or a requester is in it.
    pub fn delete(&mut self, platform: &mut impl Platform, pool: &mut Pool, name: Name) -> Result<(), Refusal> {
        let Name::Own(id) = name else { return Err(Refusal::parameter("a domain that is always there, deleted")) };
        if self.inside(name) > 0 {
            return Err(Refusal::violation(Status::OBJECT_IN_USE, "a domain that devices are in"));
        }
        let table = self.domains.remove(&id).ok_or(NO_DOMAIN)?;
        self.release(platform, pool, table);
        Ok(())
    }

    /// Puts a requester into a domain, out of wherever it was, in one step.
    ///
    /// # Errors
    /// [`Status::DEVICE_ALREADY_IN_DOMAIN`]; [`Status::NO_RESOURCES`] for one requester too many; a violation for a domain
    /// that is not there.
    pub fn attach(&mut self, platform: &mut impl Platform, name: Name, rid: Rid) -> Result<(), Refusal> {
        let (translation, did) = self.translation(Place::In(name))?;
        if self.place(rid) == Place::In(name) {
            return Err(Status::DEVICE_ALREADY_IN_DOMAIN.into());
        }
        self.put(rid, Place::In(name))?;
        platform.set_requester(rid, translation, did);
        if let Name::Own(id) = name {
            let others = self.inside(name).saturating_sub(1) as usize;
            if let Some(table) = self.domains.get_mut(&id) {
                table.entered(others);
            }
        }
        platform.log(LogLevel::Info, format_args!("root: requester {:#06x} attached to {name:x?}", rid.0));
        Ok(())
    }

    /// Takes a requester out of its domain; it is blocked until it is attached again.
    ///
    /// # Errors
    /// As for an attachment; a violation: it is in none.
    pub fn detach(&mut self, platform: &mut impl Platform, rid: Rid) -> Result<(), Refusal> {
        if self.place(rid) == Place::Nowhere {
            return Err(Refusal::violation(Status::INVALID_DEVICE_STATE, "a device that is in no domain, detached"));
        }
        self.put(rid, Place::Nowhere)?;
        platform.set_requester(rid, RequesterTranslation::Blocked, dids::BLOCKED);
        platform.log(LogLevel::Info, format_args!("root: requester {:#06x} detached", rid.0));
        Ok(())
    }

    /// Maps one page, small or large.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`]; a violation: no such domain, an address out of range or not aligned, memory that the
    /// partition does not have, or something is mapped there.
    pub fn map(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        name: Name,
        iova: Iova,
        mapping: Mapping,
    ) -> Result<(), Refusal> {
        let table = self.own(name)?;
        let Mapping { target, size, access } = mapping;
        if iova.0 % size.bytes() != 0 || target.0 % size.bytes() != 0 {
            return Err(Refusal::violation(Status::INVALID_ALIGNMENT, "a page that is not aligned to its size"));
        }
        in_range(iova, size.bytes())?;
        if !platform.is_mappable(target, size.bytes()) || pool.overlaps(target, size.bytes()) {
            return Err(Refusal::parameter("memory that the partition does not have"));
        }
        table.map(platform, pool, iova, target, size, access)
    }

    /// Unmaps so many 4-KiB pages from `iova` on, `done` of which are done before a failure, and drops them from all
    /// caches.
    ///
    /// # Errors
    /// As [`Table::unmap`]; a violation for another domain or address than there is.
    pub fn unmap(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        name: Name,
        iova: Iova,
        pages: u64,
        done: &mut u64,
    ) -> Result<(), Refusal> {
        *done = 0;
        let table = self.own(name)?;
        if iova.0 % PAGE_BYTES != 0 {
            return Err(Refusal::violation(Status::INVALID_ALIGNMENT, "a page that is not aligned to its size"));
        }
        in_range(iova, pages * PAGE_BYTES)?;
        let mut result = Ok(());
        while *done < pages {
            match table.unmap(platform, pool, Iova(iova.0 + *done * PAGE_BYTES), pages - *done) {
                Ok(unmapped) => *done += unmapped,
                Err(refusal) => {
                    result = Err(refusal);
                    break;
                }
            }
        }
        for (block, shift) in blocks(iova, *done) {
            table.flush(platform, block, shift);
        }
        let found = table.returned();
        self.findings.extend(found);
        result
    }

    /// What a page of a domain is mapped onto.
    ///
    /// # Errors
    /// A violation for another domain or address than there is.
    pub fn query(&mut self, platform: &impl Platform, name: Name, iova: Iova) -> Result<Option<Leaf>, Refusal> {
        in_range(iova, 1)?;
        self.own(name)?.query(platform, iova)
    }

    /// Puts every requester back into identity, and deletes all domains.
    pub fn reset(&mut self, platform: &mut impl Platform, pool: &mut Pool) {
        for (rid, place) in core::mem::take(&mut self.places) {
            if place != Place::In(Name::Identity) {
                platform.set_requester(rid, RequesterTranslation::Identity, dids::IDENTITY);
            }
        }
        for (_, table) in core::mem::take(&mut self.domains) {
            self.release(platform, pool, table);
        }
    }

    fn release(&mut self, platform: &mut impl Platform, pool: &mut Pool, table: Table) {
        let did = table.did();
        self.findings.extend(table.release(platform, pool));
        self.dids.release(did);
    }

    /// Where a requester is: the number of its domain, 0 for identity, all ones where it is blocked.
    pub fn whereabouts(&self, rid: Rid) -> DomainId {
        match self.place(rid) {
            Place::In(Name::Identity) => DomainId(0),
            Place::In(Name::Own(id)) => id,
            Place::In(Name::Blocked) | Place::Nowhere => DomainId(u32::MAX),
        }
    }

    /// The root of a domain's table; `None` when there is no such domain.
    pub fn root_of(&self, id: DomainId) -> Option<Gpa> {
        self.domains.get(&id).map(Table::root)
    }

    /// How many requesters that were moved are in a domain.
    pub fn inside(&self, name: Name) -> u64 {
        self.places.values().filter(|place| **place == Place::In(name)).count() as u64
    }

    /// How many requesters are blocked.
    pub fn blocked(&self) -> u64 {
        let is_blocked = |place: &Place| matches!(place, Place::Nowhere | Place::In(Name::Blocked));
        self.places.values().filter(|place| is_blocked(place)).count() as u64
    }

    fn place(&self, rid: Rid) -> Place {
        self.places.get(&rid).copied().unwrap_or(Place::In(Name::Identity))
    }

    fn put(&mut self, rid: Rid, place: Place) -> Result<(), Refusal> {
        if self.places.len() >= REQUESTERS_MAX && !self.places.contains_key(&rid) {
            return Err(Status::NO_RESOURCES.into());
        }
        self.places.insert(rid, place);
        Ok(())
    }

    fn own(&mut self, name: Name) -> Result<&mut Table, Refusal> {
        match name {
            Name::Own(id) => self.domains.get_mut(&id).ok_or(NO_DOMAIN),
            Name::Identity | Name::Blocked => Err(Refusal::parameter("pages of a domain that is always there")),
        }
    }

    fn translation(&self, place: Place) -> Result<(RequesterTranslation, Did), Refusal> {
        match place {
            Place::In(Name::Identity) => Ok((RequesterTranslation::Identity, dids::IDENTITY)),
            Place::In(Name::Blocked) | Place::Nowhere => Ok((RequesterTranslation::Blocked, dids::BLOCKED)),
            Place::In(Name::Own(id)) => {
                let table = self.domains.get(&id).ok_or(NO_DOMAIN)?;
                Ok((RequesterTranslation::SecondStage { root: table.root() }, table.did()))
            }
        }
    }
}

const NO_DOMAIN: Refusal = Refusal::parameter("a domain that is not there");

fn in_range(iova: Iova, bytes: u64) -> Result<(), Refusal> {
    match iova.0.checked_add(bytes) {
        Some(end) if end <= 1 << IOVA_BITS => Ok(()),
        _ => Err(Refusal::parameter("an address that is wider than domains are")),
    }
}

/// Naturally aligned blocks that cover so many pages from `iova` on, each as the address and the power of two of its pages.
fn blocks(iova: Iova, pages: u64) -> impl Iterator<Item = (Iova, u8)> {
    let mut at = iova.0 / PAGE_BYTES;
    let end = at + pages;
    core::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let shift = at.trailing_zeros().min(left.ilog2());
        let block = Iova(at * PAGE_BYTES);
        at += 1 << shift;
        Some((block, shift as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::list::PageNumber;
    use crate::testing::{Event, MockPlatform};
    use alloc::vec;
    use proptest::prelude::*;

    const OWN: Name = Name::Own(DomainId(7));
    const RID: Rid = Rid(0x28);
    const DID: Did = Did(3);

    struct World {
        platform: MockPlatform,
        pool: Pool,
        domains: Domains,
    }

    impl World {
        fn new(pages: u64) -> World {
            let (mut platform, mut pool) = (MockPlatform::new(Vec::new()), Pool::new());
            for page in 0x40..0x40 + pages {
                pool.deposit(&mut platform, PageNumber(page)).unwrap();
            }
            World { platform, pool, domains: Domains::new(Strictness::Strict) }
        }

        fn create(&mut self, name: Name) -> u16 {
            status(self.domains.create(&mut self.platform, &mut self.pool, name))
        }

        fn delete(&mut self, name: Name) -> u16 {
            status(self.domains.delete(&mut self.platform, &mut self.pool, name))
        }

        fn attach(&mut self, name: Name) -> u16 {
            status(self.domains.attach(&mut self.platform, name, RID))
        }

        fn map(&mut self, name: Name, iova: u64, target: u64, size: Size) -> u16 {
            let mapping = Mapping { target: Gpa(target), size, access: Access::ReadWrite };
            status(self.domains.map(&mut self.platform, &mut self.pool, name, Iova(iova), mapping))
        }

        fn unmap(&mut self, name: Name, iova: u64, pages: u64) -> (u16, u64) {
            let mut done = 99;
            let World { platform, pool, domains } = self;
            let result = domains.unmap(platform, pool, name, Iova(iova), pages, &mut done);
            (status(result), done)
        }
    }

    fn status(result: Result<(), Refusal>) -> u16 {
        result.err().map_or(0, |refusal| refusal.status.0)
    }

    #[test]
    fn a_domain_from_creation_to_deletion() {
        let mut world = World::new(4);
        assert_eq!(world.create(OWN), 0);
        assert_eq!(world.create(OWN), 0x65);
        assert_eq!(world.attach(OWN), 0);
        assert_eq!(world.attach(OWN), 0x66);
        let table = RequesterTranslation::SecondStage { root: Gpa(0x4_0000) };
        assert_eq!(world.platform.take_events(), [Event::SetRequester(RID, table, DID)]);
        assert_eq!((world.domains.whereabouts(RID), world.domains.whereabouts(Rid(0x30))), (DomainId(7), DomainId(0)));
        assert_eq!(world.map(OWN, 0x10_0000, 0x9000, Size::Small), 0);
        let leaf = world.domains.query(&world.platform, OWN, Iova(0x10_0123)).unwrap();
        assert_eq!(leaf, Some(Leaf { page: Gpa(0x9000), access: Access::ReadWrite, size: Size::Small }));
        assert!(world.platform.take_events().is_empty(), "a page that was not there is in no cache");
        assert_eq!(world.delete(OWN), 0x19);
        assert_eq!(world.unmap(OWN, 0x10_0000, 1), (0, 1));
        assert_eq!(world.platform.take_events(), [Event::FlushDidPages(DID, Iova(0x10_0000), 0)]);
        assert_eq!(world.attach(Name::Blocked), 0);
        assert_eq!(world.delete(OWN), 0);
        assert_eq!(world.delete(OWN), 5);
        assert_eq!(
            world.platform.take_events(),
            [Event::SetRequester(RID, RequesterTranslation::Blocked, Did(2)), Event::FlushDid(DID)]
        );
        assert_eq!((world.pool.free(), world.domains.count()), (4, 0));
        assert_eq!(world.attach(Name::Identity), 0);
        assert_eq!(world.attach(Name::Identity), 0x66);
        let identity = Event::SetRequester(RID, RequesterTranslation::Identity, Did(1));
        assert_eq!(world.platform.take_events(), [identity]);
    }

    #[test]
    fn ids_are_free_again() {
        let mut world = World::new(2);
        assert_eq!((world.create(OWN), world.create(Name::Own(DomainId(8)))), (0, 0));
        assert_eq!(world.domains.dids.free(), DomainDids::CAPACITY - 2);
        assert_eq!(world.delete(OWN), 0);
        assert_eq!(world.domains.dids.free(), DomainDids::CAPACITY - 1);
        world.domains.reset(&mut world.platform, &mut world.pool);
        assert_eq!(world.domains.dids.free(), DomainDids::CAPACITY);
    }

    #[test]
    fn a_domain_without_an_id_keeps_no_page() {
        let mut world = World::new(2);
        while world.domains.dids.allocate().is_some() {}
        assert_eq!(world.create(OWN), 0x38);
        assert_eq!((world.pool.free(), world.domains.count()), (2, 0));
    }

    #[test]
    fn special_domains_are_never_changed() {
        let mut world = World::new(4);
        for name in [Name::Identity, Name::Blocked] {
            assert_eq!((world.create(name), world.delete(name)), (5, 5));
            assert_eq!(world.map(name, 0, 0x9000, Size::Small), 5);
            assert_eq!(world.unmap(name, 0, 1), (5, 0));
            assert!(world.domains.query(&world.platform, name, Iova(0)).is_err());
        }
    }

    #[test]
    fn only_the_partitions_memory_is_mapped() {
        let mut world = World::new(8);
        world.create(OWN);
        let ram = world.platform.ram.len() as u64;
        assert_eq!(world.map(OWN, 0, ram, Size::Small), 5, "outside");
        assert_eq!(world.map(OWN, 0, 0x4_7000, Size::Small), 5, "deposited, and free");
        assert_eq!(world.map(OWN, 0, 0x4_0000, Size::Small), 5, "a table");
        assert_eq!(world.map(OWN, 0, 0, Size::Large), 5, "tables are in it");
        assert_eq!(world.map(OWN, 0x1000, 0x20_0000, Size::Large), 4);
        assert_eq!(world.map(OWN, 0x123, 0x9000, Size::Small), 4);
        assert_eq!(world.map(OWN, 1 << 48, 0x9000, Size::Small), 5);
        assert_eq!(world.map(OWN, u64::MAX - 0xfff, 0x9000, Size::Small), 5);
        assert_eq!(world.map(OWN, (1 << 48) - 0x1000, 0x9000, Size::Small), 0);
        assert_eq!(world.unmap(OWN, (1 << 48) - 0x1000, 2), (5, 0));
    }

    #[test]
    fn detached_is_blocked() {
        let mut world = World::new(1);
        assert_eq!(status(world.domains.detach(&mut world.platform, RID)), 0);
        assert_eq!(world.domains.whereabouts(RID), DomainId(u32::MAX));
        assert_eq!(status(world.domains.detach(&mut world.platform, RID)), 0x58);
        world.create(OWN);
        assert_eq!(world.attach(OWN), 0);
        world.platform.take_events();
        world.domains.reset(&mut world.platform, &mut world.pool);
        assert_eq!(
            world.platform.take_events(),
            [Event::SetRequester(RID, RequesterTranslation::Identity, Did(1)), Event::FlushDid(DID)]
        );
        assert_eq!((world.domains.whereabouts(RID), world.pool.free()), (DomainId(0), 1));
    }

    #[test]
    fn requesters_are_bounded() {
        let mut world = World::new(1);
        for rid in 0..64 {
            assert_eq!(status(world.domains.attach(&mut world.platform, Name::Blocked, Rid(rid))), 0);
        }
        world.platform.take_events();
        assert_eq!(status(world.domains.attach(&mut world.platform, Name::Blocked, Rid(64))), 0x1d);
        assert_eq!(status(world.domains.detach(&mut world.platform, Rid(64))), 0x1d);
        assert!(world.platform.take_events().is_empty(), "what is refused stays where it is");
        assert_eq!(status(world.domains.attach(&mut world.platform, Name::Identity, Rid(63))), 0);
        assert_eq!(world.domains.whereabouts(Rid(64)), DomainId(0));
        assert_eq!(world.domains.blocked(), 63);
        assert_eq!(status(world.domains.detach(&mut world.platform, Rid(3))), 0);
        assert_eq!(world.domains.blocked(), 63);
    }

    /// What was unmapped before a failure is flushed, and nothing else.
    #[test]
    fn a_failing_unmap_flushes_what_it_did() {
        let mut world = World::new(4);
        world.create(OWN);
        for page in 1..4 {
            assert_eq!(world.map(OWN, page << 12, 0x9000, Size::Small), 0);
        }
        assert_eq!(world.unmap(OWN, 0x1000, 8), (5, 3));
        assert_eq!(
            world.platform.take_events(),
            [Event::FlushDidPages(DID, Iova(0x1000), 0), Event::FlushDidPages(DID, Iova(0x2000), 1)]
        );
        assert_eq!(world.unmap(OWN, 0x1000, 1), (5, 0));
        assert!(world.platform.take_events().is_empty());
    }

    proptest! {
        #[test]
        fn blocks_cover_exactly(first in 0u64..1 << 36, pages in 0u64..5000) {
            let mut next = first;
            let mut all = vec![];
            for (Iova(at), shift) in blocks(Iova(first << 12), pages) {
                prop_assert_eq!(at >> 12, next);
                prop_assert_eq!(next % (1 << shift), 0);
                next += 1 << shift;
                all.push(shift);
            }
            prop_assert_eq!(next, first + pages);
            prop_assert!(all.len() <= 26);
        }
    }
}
