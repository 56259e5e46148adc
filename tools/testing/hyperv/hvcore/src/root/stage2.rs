// SPDX-License-Identifier: GPL-2.0
//! The second-stage table of a device domain. It lies in pages that the partition has deposited, one for each table; the
//! IOMMU walks it at any time. What caches may hold of it is logged ([`CacheLog`]).

use alloc::vec::Vec;

use super::memory::Pool;
use crate::cachelog::{CacheLog, Finding, IovaRange, Stale, Strictness, Writer};
use crate::ids::{DomainId, Gpa, Iova};
use crate::paging::{index, PageSize, ENTRIES};
use crate::platform::{PagingLevels, Platform};
use crate::request::refusal::Refusal;
use crate::request::root_domains::{Access, Size};
use crate::status::Status;
use crate::vtd::did::Did;
use crate::vtd::second_stage::{self, LARGE, READ, WRITE};
use crate::vtd::PhysAddr;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = READ | WRITE;
const SMALL_PAGES: u64 = ENTRIES;

/// The bits of an entry that allow it.
pub(super) const fn bits(access: Access) -> u64 {
    match access {
        Access::Read => READ,
        Access::ReadWrite => READ | WRITE,
    }
}

/// What a page of a domain is mapped onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The 4-KiB page.
    pub page: Gpa,
    /// What the device may do with it.
    pub access: Access,
    /// The size of the entry that maps it.
    pub size: Size,
}

/// A table of four levels.
///
/// # Invariants
/// Every table in it is a page taken from the pool, and belongs to it alone.
pub struct Table {
    root: Gpa,
    /// What its translations are cached under.
    did: Did,
    /// The domain's number, by which it is known to the log.
    id: DomainId,
    caches: CacheLog,
}

/// Where an address has its entry.
struct Slot {
    table: Gpa,
    level: u32,
    entry: u64,
}

impl Table {
    /// The empty table of domain `id`, in the page at `root`, which was taken from the pool and is full of zeroes.
    pub fn new(platform: &mut impl Platform, root: Gpa, did: Did, id: DomainId, strictness: Strictness) -> Table {
        let mut caches = CacheLog::new(Writer::Hypervisor, strictness);
        caches.configured(platform, id, root, PagingLevels::Four);
        Table { root, did, id, caches }
    }

    /// A page for the root of a table.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`].
    pub fn take_root(platform: &mut impl Platform, pool: &mut Pool) -> Result<Gpa, Refusal> {
        empty_table(platform, pool)
    }

    /// What its translations are cached under.
    pub fn did(&self) -> Did {
        self.did
    }

    /// A requester is translated by the table from now on, beside `others`.
    pub fn entered(&mut self, others: usize) {
        self.caches.attached(self.id, others);
    }

    /// Drops the naturally aligned block of `1 << shift` pages at `iova` from all caches.
    pub fn flush(&mut self, platform: &mut impl Platform, iova: Iova, shift: u8) {
        platform.flush_did_pages(self.did, iova, shift);
        self.caches.flushed(platform, self.id, IovaRange::block(iova, shift));
    }

    /// A call that has changed the table ends. Returns what the log has found since the last such call.
    pub fn returned(&mut self) -> Vec<Finding> {
        self.caches.returned(self.id);
        self.caches.take_findings()
    }

    /// What is cached although the table no longer has it; `None` when there is no log of it.
    pub fn stale(&self) -> Option<Stale> {
        self.caches.stale(self.id)
    }

    /// Where the IOMMU begins.
    pub fn root(&self) -> Gpa {
        self.root
    }

    /// Maps `size` bytes at `iova`, which is aligned to them, onto those at `target`, which is, too.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`] when a table is missing; tables that were added before that stay. A violation where
    /// something is mapped.
    pub fn map(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        iova: Iova,
        target: Gpa,
        size: Size,
        access: Access,
    ) -> Result<(), Refusal> {
        const MAPPED: Refusal = Refusal::parameter("an address that is mapped");
        let level = match size {
            Size::Small => PageSize::Small.level(),
            Size::Large => PageSize::Large.level(),
        };
        let slot = self.slot_at(platform, pool, iova, level)?;
        let leaf = target.0 & ADDRESS | bits(access);
        match (size, slot.entry & PRESENT) {
            (Size::Small, 0) => self.store(platform, slot.table, index(iova.0, level), leaf),
            (Size::Large, 0) => self.store(platform, slot.table, index(iova.0, level), leaf | LARGE),
            (Size::Large, _) if slot.entry & LARGE == 0 => {
                // A table is left over. It is filled instead: what points at it may be cached, and needs no flush so.
                let table = Gpa(slot.entry & ADDRESS);
                for part in 0..ENTRIES as usize {
                    if load(platform, table, part)? & PRESENT != 0 {
                        return Err(MAPPED);
                    }
                }
                for part in 0..ENTRIES as usize {
                    self.store(platform, table, part, leaf + part as u64 * PageSize::Small.bytes())?;
                }
                Ok(())
            }
            _ => Err(MAPPED),
        }
    }

    /// Unmaps the page at `iova`, or with it all that the entry maps if that is no more than `most` pages. Tells how many
    /// pages that were. A larger entry is split.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`] when a table for the split is missing; nothing changes then. A violation where
    /// nothing is mapped.
    pub fn unmap(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        iova: Iova,
        most: u64,
    ) -> Result<u64, Refusal> {
        let Some(slot) = self.leaf_slot(platform, iova)? else {
            return Err(Refusal::parameter("an address that is not mapped"));
        };
        let at = index(iova.0, slot.level);
        if slot.level == PageSize::Small.level() {
            self.store(platform, slot.table, at, 0)?;
            return Ok(1);
        }
        let is_first = iova.0 % PageSize::Large.bytes() == 0;
        if is_first && most >= SMALL_PAGES {
            self.store(platform, slot.table, at, 0)?;
            return Ok(SMALL_PAGES);
        }
        let parts = pool.take()?;
        let first = slot.entry & ADDRESS & !(PageSize::Large.bytes() - 1) | slot.entry & PRESENT;
        for part in 0..ENTRIES as usize {
            self.store(platform, parts, part, first + part as u64 * PageSize::Small.bytes())?;
        }
        // Until here the IOMMU goes by the large entry, from here on by the small ones, which say the same.
        self.store(platform, slot.table, at, second_stage::table(PhysAddr(parts.0)))?;
        self.store(platform, parts, index(iova.0, PageSize::Small.level()), 0)?;
        Ok(1)
    }

    /// What the page at `iova` is mapped onto.
    ///
    /// # Errors
    /// None that a sound table could give.
    pub fn query(&self, platform: &impl Platform, iova: Iova) -> Result<Option<Leaf>, Refusal> {
        let Some(Slot { level, entry, .. }) = self.leaf_slot(platform, iova)? else { return Ok(None) };
        let access = if entry & WRITE == 0 { Access::Read } else { Access::ReadWrite };
        let (size, offset) = match level {
            0 => (Size::Small, 0),
            _ => (Size::Large, iova.0 % Size::Large.bytes() & !(Size::Small.bytes() - 1)),
        };
        Ok(Some(Leaf { page: Gpa((entry & ADDRESS) + offset), access, size }))
    }

    /// Drops everything from all caches, and gives all tables back. No requester may be translated by them any more.
    /// Returns what the log has found.
    pub fn release(mut self, platform: &mut impl Platform, pool: &mut Pool) -> Vec<Finding> {
        // The tables' pages are used for something else next.
        self.flush_all(platform);
        self.caches.deleted(platform, self.id);
        release_below(platform, pool, self.root, PageSize::TOP_LEVEL);
        self.caches.take_findings()
    }

    fn flush_all(&mut self, platform: &mut impl Platform) {
        platform.flush_did(self.did);
        self.caches.flushed_all(platform, self.id, 0);
    }

    fn store(&mut self, platform: &mut impl Platform, table: Gpa, at: usize, entry: u64) -> Result<(), Refusal> {
        let place = Gpa(table.0 + 8 * at as u64);
        Ok(self.caches.store(platform, place, entry).map_err(|_| Status::INVALID_PARAMETER)?)
    }

    /// The entry for `iova` in a table of `level`; tables above it are added. A large entry above is an error.
    fn slot_at(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        iova: Iova,
        level: u32,
    ) -> Result<Slot, Refusal> {
        let mut table = self.root;
        let mut now = PageSize::TOP_LEVEL;
        loop {
            let at = index(iova.0, now);
            let entry = load(platform, table, at)?;
            if now == level {
                return Ok(Slot { table, level, entry });
            }
            table = match entry {
                entry if entry & PRESENT == 0 => {
                    let next = empty_table(platform, pool)?;
                    self.store(platform, table, at, second_stage::table(PhysAddr(next.0)))?;
                    next
                }
                entry if entry & LARGE != 0 => return Err(Refusal::parameter("an address that is mapped")),
                entry => Gpa(entry & ADDRESS),
            };
            now -= 1;
        }
    }

    /// The leaf that maps `iova`.
    fn leaf_slot(&self, platform: &impl Platform, iova: Iova) -> Result<Option<Slot>, Refusal> {
        let mut table = self.root;
        for level in (0..=PageSize::TOP_LEVEL).rev() {
            let entry = load(platform, table, index(iova.0, level))?;
            if entry & PRESENT == 0 {
                return Ok(None);
            }
            if level == 0 || entry & LARGE != 0 {
                return Ok(Some(Slot { table, level, entry }));
            }
            table = Gpa(entry & ADDRESS);
        }
        Ok(None)
    }
}

fn release_below(platform: &impl Platform, pool: &mut Pool, table: Gpa, level: u32) {
    if level > 0 {
        for at in 0..ENTRIES as usize {
            let entry = load(platform, table, at).unwrap_or(0);
            if entry & PRESENT != 0 && entry & LARGE == 0 {
                release_below(platform, pool, Gpa(entry & ADDRESS), level - 1);
            }
        }
    }
    pool.release(table);
}

fn empty_table(platform: &mut impl Platform, pool: &mut Pool) -> Result<Gpa, Refusal> {
    let table = pool.take()?;
    platform.write(table, &[0; 4096]).map_err(|_| Status::INVALID_PARAMETER)?;
    Ok(table)
}

fn load(platform: &impl Platform, table: Gpa, at: usize) -> Result<u64, Refusal> {
    let mut bytes = [0; 8];
    platform.read(Gpa(table.0 + 8 * at as u64), &mut bytes).map_err(|_| Status::INVALID_PARAMETER)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::list::PageNumber;
    use crate::testing::MockPlatform;
    use alloc::collections::BTreeMap;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    const LARGE_BYTES: u64 = 2 << 20;

    fn start(pages: u64) -> (MockPlatform, Pool, Table) {
        let mut platform = MockPlatform::new(Vec::new());
        let mut pool = Pool::new();
        for page in 0x40..0x40 + pages {
            pool.deposit(&mut platform, PageNumber(page)).unwrap();
        }
        // What was in the pages before means nothing.
        platform.ram.fill(0xff);
        let root = Table::take_root(&mut platform, &mut pool).unwrap();
        let table = Table::new(&mut platform, root, Did(3), DomainId(7), Strictness::Strict);
        (platform, pool, table)
    }

    fn page(platform: &MockPlatform, table: &Table, iova: u64) -> Option<(u64, Access)> {
        table.query(platform, Iova(iova)).unwrap().map(|leaf| (leaf.page.0, leaf.access))
    }

    #[test]
    fn a_page_is_mapped_with_the_tables_that_it_needs() {
        let (mut platform, mut pool, mut table) = start(4);
        let iova = Iova(0x7fff_ffff_f000);
        assert_eq!(table.map(&mut platform, &mut pool, iova, Gpa(0x9000), Size::Small, Access::Read), Ok(()));
        assert_eq!((pool.free(), page(&platform, &table, iova.0)), (0, Some((0x9000, Access::Read))));
        // The next one in the same table needs none, another one does.
        let next = Iova(iova.0 - 0x1000);
        assert_eq!(table.map(&mut platform, &mut pool, next, Gpa(0xa000), Size::Small, Access::ReadWrite), Ok(()));
        let far = table.map(&mut platform, &mut pool, Iova(0), Gpa(0xa000), Size::Small, Access::Read);
        assert_eq!(far, Err(Status::INSUFFICIENT_MEMORY.into()));
        assert_eq!(page(&platform, &table, 0), None);
        assert!(table.map(&mut platform, &mut pool, iova, Gpa(0x9000), Size::Small, Access::Read).is_err(), "twice");
        assert_eq!(table.unmap(&mut platform, &mut pool, iova, 1), Ok(1));
        assert_eq!(page(&platform, &table, iova.0), None);
        assert!(table.unmap(&mut platform, &mut pool, iova, 1).unwrap_err().violation.is_some());
        assert_eq!(page(&platform, &table, next.0), Some((0xa000, Access::ReadWrite)));
        table.release(&mut platform, &mut pool);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn an_entry_is_what_the_iommu_reads() {
        let (mut platform, mut pool, mut table) = start(4);
        table.map(&mut platform, &mut pool, Iova(0x1000), Gpa(0x9000), Size::Small, Access::Read).unwrap();
        assert_eq!(table.root(), Gpa(0x4_0000));
        let entries = [0x4_0000, 0x4_1000, 0x4_2000, 0x4_3008].map(|address| platform.get_u64(address));
        assert_eq!(entries, [0x4_1003, 0x4_2003, 0x4_3003, 0x9001]);
    }

    #[test]
    fn a_large_page_is_split_where_it_must_be() {
        let (mut platform, mut pool, mut table) = start(3);
        let target = Gpa(5 * LARGE_BYTES);
        table.map(&mut platform, &mut pool, Iova(LARGE_BYTES), target, Size::Large, Access::ReadWrite).unwrap();
        assert_eq!(pool.free(), 0);
        let inside = Iova(LARGE_BYTES + 0x3000);
        assert_eq!(page(&platform, &table, inside.0 + 0x123), Some((target.0 + 0x3000, Access::ReadWrite)));
        // Neither a small nor another large one fits over it.
        for size in [Size::Small, Size::Large] {
            let over = table.map(&mut platform, &mut pool, Iova(LARGE_BYTES), target, size, Access::Read);
            assert_eq!(over.unwrap_err().status, Status(5));
        }
        assert_eq!(table.unmap(&mut platform, &mut pool, inside, 1), Err(Status::INSUFFICIENT_MEMORY.into()));
        assert!(page(&platform, &table, inside.0).is_some());
        pool.deposit(&mut platform, PageNumber(0x50)).unwrap();
        assert_eq!(table.unmap(&mut platform, &mut pool, inside, 600), Ok(1));
        assert_eq!(page(&platform, &table, inside.0), None);
        for (number, offset) in (0..LARGE_BYTES).step_by(0x1000).enumerate() {
            let expected = (number != 3).then_some((target.0 + offset, Access::ReadWrite));
            assert_eq!(page(&platform, &table, LARGE_BYTES + offset), expected);
        }
    }

    #[test]
    fn the_parts_of_a_large_page_allow_what_it_allowed() {
        for access in [Access::Read, Access::ReadWrite] {
            let (mut platform, mut pool, mut table) = start(4);
            table.map(&mut platform, &mut pool, Iova(0), Gpa(3 * LARGE_BYTES), Size::Large, access).unwrap();
            assert_eq!(table.unmap(&mut platform, &mut pool, Iova(0x3000), 1), Ok(1));
            for number in [0, 2, 4, 511] {
                assert_eq!(
                    page(&platform, &table, number << 12),
                    Some((3 * LARGE_BYTES + (number << 12), access)),
                    "{number}"
                );
            }
        }
    }

    #[test]
    fn a_large_page_goes_at_once_or_into_the_table_that_is_left() {
        let (mut platform, mut pool, mut table) = start(4);
        let map = |table: &mut Table, platform: &mut MockPlatform, pool: &mut Pool| {
            table.map(platform, pool, Iova(0), Gpa(3 * LARGE_BYTES), Size::Large, Access::Read)
        };
        map(&mut table, &mut platform, &mut pool).unwrap();
        assert_eq!(table.unmap(&mut platform, &mut pool, Iova(0), 511), Ok(1));
        assert!(map(&mut table, &mut platform, &mut pool).unwrap_err().violation.is_some(), "511 pages are there");
        for number in 1..512 {
            assert_eq!(table.unmap(&mut platform, &mut pool, Iova(number << 12), 1), Ok(1));
        }
        map(&mut table, &mut platform, &mut pool).unwrap();
        let leaf = table.query(&platform, Iova(0x1f_f000)).unwrap().unwrap();
        assert_eq!((leaf.page.0, leaf.size), (3 * LARGE_BYTES + 0x1f_f000, Size::Small));
        let (mut platform, mut pool, mut table) = start(3);
        table.map(&mut platform, &mut pool, Iova(0), Gpa(0), Size::Large, Access::Read).unwrap();
        assert_eq!(table.unmap(&mut platform, &mut pool, Iova(0), 512), Ok(512));
        assert_eq!(page(&platform, &table, 0x1000), None);
    }

    fn found(table: &mut Table) -> Vec<String> {
        table.returned().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_unmapped_and_not_flushed_is_found() {
        let (mut platform, mut pool, mut table) = start(5);
        let map = |table: &mut Table, platform: &mut MockPlatform, pool: &mut Pool| {
            for page in 1..4 {
                table.map(platform, pool, Iova(page << 12), Gpa(0x9000), Size::Small, Access::ReadWrite).unwrap();
            }
        };
        map(&mut table, &mut platform, &mut pool);
        table.unmap(&mut platform, &mut pool, Iova(0x1000), 1).unwrap();
        assert!(found(&mut table).is_empty(), "no requester has used it");
        table.entered(0);
        table.unmap(&mut platform, &mut pool, Iova(0x2000), 1).unwrap();
        table.unmap(&mut platform, &mut pool, Iova(0x3000), 1).unwrap();
        table.flush(&mut platform, Iova(0x2000), 0);
        let line = "cache: domain 7: iova 0x3000-0x3fff: a call returned with 1 pages unmapped and not flushed";
        assert_eq!(found(&mut table), [line]);
        assert!(found(&mut table).is_empty(), "once is enough");
        map(&mut table, &mut platform, &mut pool);
        table.flush_all(&mut platform);
        assert!(table.release(&mut platform, &mut pool).is_empty());
    }

    #[test]
    fn a_table_that_goes_unflushed_is_found() {
        let (mut platform, mut pool, mut table) = start(4);
        table.entered(0);
        table.map(&mut platform, &mut pool, Iova(0x1000), Gpa(0x9000), Size::Small, Access::ReadWrite).unwrap();
        table.caches.deleted(&mut platform, DomainId(7));
        let line = "cache: domain 7: deleted with 4 tables, not flushed since its last device left";
        assert_eq!(found(&mut table), [line]);
    }

    /// The parts of a large page say what it said: only the one that goes must be flushed.
    #[test]
    fn a_large_page_that_is_split_stays_cached() {
        let (mut platform, mut pool, mut table) = start(4);
        table.entered(0);
        table.map(&mut platform, &mut pool, Iova(0), Gpa(3 * LARGE_BYTES), Size::Large, Access::Read).unwrap();
        table.unmap(&mut platform, &mut pool, Iova(0x3000), 1).unwrap();
        assert_eq!(table.stale().map(|stale| stale.pages), Some(1));
        table.flush(&mut platform, Iova(0x3000), 0);
        assert!(found(&mut table).is_empty());
        table.map(&mut platform, &mut pool, Iova(LARGE_BYTES), Gpa(0), Size::Large, Access::Read).unwrap();
        table.unmap(&mut platform, &mut pool, Iova(LARGE_BYTES), 512).unwrap();
        table.flush(&mut platform, Iova(LARGE_BYTES), 8);
        let line = "cache: domain 7: iova 0x300000-0x3fffff: a call returned with 256 pages unmapped and not flushed";
        assert_eq!(found(&mut table), [line]);
    }

    proptest! {
        /// Against a map from page to page, with memory for few tables.
        #[test]
        fn any_sequence(operations in prop::collection::vec((0u64..6, 0u64..1100, 0u64..4), 1..60), pages in 4u64..8) {
            let (mut platform, mut pool, mut table) = start(pages);
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            table.entered(0);
            for (what, at, target) in operations {
                match what {
                    0..3 => {
                        let free = !model.contains_key(&at);
                        let result = table.map(&mut platform, &mut pool, Iova(at << 12), Gpa(target << 12), Size::Small, Access::Read);
                        match result.map_err(|refusal| refusal.status.0) {
                            Ok(()) => { prop_assert!(free); model.insert(at, target); }
                            Err(0x0b) => prop_assert!(pool.free() == 0),
                            Err(status) => { prop_assert_eq!(status, 5); prop_assert!(!free); }
                        }
                    }
                    3 => {
                        let (first, target) = (at & !511, target << 9);
                        let free = model.range(first..first + 512).next().is_none();
                        let result = table.map(&mut platform, &mut pool, Iova(first << 12), Gpa(target << 12), Size::Large, Access::Read);
                        match result.map_err(|refusal| refusal.status.0) {
                            Ok(()) => { prop_assert!(free); model.extend((0..512).map(|part| (first + part, target + part))); }
                            Err(0x0b) => prop_assert!(pool.free() == 0),
                            Err(status) => { prop_assert_eq!(status, 5); prop_assert!(!free); }
                        }
                    }
                    _ => {
                        let most = if what == 4 { 1 } else { 600 };
                        match table.unmap(&mut platform, &mut pool, Iova(at << 12), most).map_err(|refusal| refusal.status.0) {
                            Ok(done) => for part in 0..done {
                                prop_assert!(model.remove(&(at + part)).is_some());
                                table.flush(&mut platform, Iova(at + part << 12), 0);
                            },
                            Err(0x0b) => prop_assert!(pool.free() == 0),
                            Err(status) => { prop_assert_eq!(status, 5); prop_assert!(!model.contains_key(&at)); }
                        }
                    }
                }
            }
            for at in 0..1600 {
                let found = page(&platform, &table, at << 12).map(|(page, _)| page >> 12);
                prop_assert_eq!(found, model.get(&at).copied());
            }
            prop_assert_eq!(found(&mut table), [""; 0]);
            prop_assert!(table.release(&mut platform, &mut pool).is_empty());
            prop_assert_eq!(pool.free(), pages);
        }
    }
}
