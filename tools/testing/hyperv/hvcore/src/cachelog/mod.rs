// SPDX-License-Identifier: GPL-2.0
//! What the caches of an IOMMU may still hold.
//!
//! The emulated IOMMU below has a TLB of 1024 entries and no cache of paging structures, so a flush that is missing
//! often does no harm there. This log assumes caches without limit instead. The guest's stage-1 tables are
//! write-protected ([`Platform::watch`]), each store to one of them is carried out here, and so is each store to the
//! second-stage tables of a root partition's domains, which the hypervisor writes itself. The log notes by domain:
//!
//! - the translations that were removed or changed and may be cached, until a flush covers them;
//! - the tables that were taken out of the tree, until flushes cover all that they translated.
//!
//! The number of a domain is the caches' tag. Nothing but a flush of that domain drops what is cached under it: no
//! attach, no detach, no delete. New entries come into the caches while a device is in the domain.
//!
//! What is held against the guest: see [`Fault`]. The log says nothing about translations that were removed and not yet
//! flushed as such, because the flush may be on its way, or deferred; [`CacheLog::stale`] tells a test about them. Only
//! when a device enters a domain that had none meanwhile, and flushes are not deferred, they should be gone. A root
//! partition asks for no flush: when its call returns, nothing may be left.

mod entry;
mod finding;
mod ranges;
pub mod store;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{DomainId, Gpa, Iova};
use crate::platform::{BadGpa, CannotWatch, LogLevel, PagingLevels, Platform};
use entry::{Entry, Level, Place, ENTRIES, TABLE_BYTES};
pub use finding::{Fault, Finding};
pub use ranges::{IovaRange, IovaSet};

/// Whether there is a log, and what the guest is known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// There is. The guest flushes before an unmap is complete.
    Strict,
    /// There is. The guest may defer flushes, so that a device may meet translations that were removed.
    Deferred,
    /// Tables are not watched.
    Off,
}

/// Who writes the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The guest. Its pages are watched.
    Guest,
    /// The hypervisor, which tells the log of each store ([`CacheLog::store`]). Its pages are out of the guest's reach.
    Hypervisor,
}

impl Writer {
    fn watch(self, platform: &mut impl Platform, page: Gpa) -> Result<(), CannotWatch> {
        match self {
            Writer::Guest => platform.watch(page),
            Writer::Hypervisor => Ok(()),
        }
    }

    fn unwatch(self, platform: &mut impl Platform, page: Gpa) {
        match self {
            Writer::Guest => platform.unwatch(page),
            Writer::Hypervisor => {}
        }
    }
}

/// Most pages that are watched; a domain that needs more is no longer followed.
const PAGES_MAX: usize = 4096;
/// Most ranges kept of one domain; with more, it is no longer followed.
const RANGES_MAX: usize = 4096;

/// What the guest wants to do to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Replace it.
    Exchange(u64),
    /// Replace it if it is as expected.
    CompareExchange {
        /// What it must be.
        expected: u64,
        /// What it becomes.
        new: u64,
    },
}

/// What became of a write to a watched page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was carried out; the entry was this before.
    Done(u64),
    /// It was not, and the page is watched no longer: the guest does it again by itself.
    Retry,
}

/// Whether caches can have entries of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cached {
    /// No device was in the domain since all of it was flushed.
    Nothing,
    /// Anything that is in its tables, or was.
    Maybe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The table is in the domain's tree.
    InTree,
    /// It was, and caches may not have forgotten.
    TakenOut,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    domain: DomainId,
    place: Place,
    link: Link,
}

#[derive(Debug)]
struct Domain {
    root: Gpa,
    cached: Cached,
    /// Translations that were removed and not flushed.
    stale: IovaSet,
    /// What tables translated that were taken out, as far as not flushed.
    stale_tables: IovaSet,
}

/// What may be cached of a domain although its tables do not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Pages that were unmapped or changed.
    pub pages: u64,
    /// The first of them.
    pub first: Option<IovaRange>,
    /// Tables that were taken out of the tree.
    pub tables: u64,
}

/// The log.
pub struct CacheLog {
    writer: Writer,
    strictness: Strictness,
    /// Every watched page, by its address.
    pages: BTreeMap<u64, Page>,
    /// Every domain that is followed.
    domains: BTreeMap<DomainId, Domain>,
    findings: Vec<Finding>,
}

impl CacheLog {
    /// An empty log of tables that `writer` writes.
    pub fn new(writer: Writer, strictness: Strictness) -> CacheLog {
        CacheLog { writer, strictness, pages: BTreeMap::new(), domains: BTreeMap::new(), findings: Vec::new() }
    }

    /// Takes what has been found since the last time.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        core::mem::take(&mut self.findings)
    }

    /// The domain whose table the page at `root` is, or may still be taken for by a cache.
    pub fn owner(&self, root: Gpa) -> Option<DomainId> {
        self.pages.get(&page_of(root).0).map(|page| page.domain)
    }

    /// Follows a domain from now on, which has just got its table.
    pub fn configured(&mut self, platform: &mut impl Platform, id: DomainId, root: Gpa, levels: PagingLevels) {
        if self.strictness == Strictness::Off {
            return;
        }
        let domain =
            Domain { root, cached: Cached::Nothing, stale: IovaSet::default(), stale_tables: IovaSet::default() };
        self.domains.insert(id, domain);
        self.link(platform, id, root, Place { level: Level::top(levels), base: Iova(0) });
    }

    /// A device is in the domain from now on, beside `others`.
    pub fn attached(&mut self, id: DomainId, others: usize) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        domain.cached = Cached::Maybe;
        if let (Strictness::Strict, 0, Some(first)) = (self.strictness, others, domain.stale.first()) {
            let pages = domain.stale.pages();
            self.findings.push(Finding { domain: id, fault: Fault::AttachedStale { pages, first } });
        }
    }

    /// The guest had all of a domain flushed, with this many devices in it.
    pub fn flushed_all(&mut self, platform: &mut impl Platform, id: DomainId, devices: usize) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        domain.stale.clear();
        domain.stale_tables.clear();
        if devices == 0 {
            domain.cached = Cached::Nothing;
        }
        self.release_tables(platform, id);
    }

    /// The guest had a range of a domain flushed.
    pub fn flushed(&mut self, platform: &mut impl Platform, id: DomainId, range: IovaRange) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        domain.stale.remove(range);
        if domain.stale_tables.first_in(range).is_some() {
            domain.stale_tables.remove(range);
            self.release_tables(platform, id);
        }
    }

    /// A call that changed a domain returns, and no flush is to come.
    pub fn returned(&mut self, id: DomainId) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        if let Some(first) = domain.stale.first() {
            let pages = domain.stale.pages();
            self.findings.push(Finding { domain: id, fault: Fault::ReturnedStale { pages, first } });
            // Once is enough.
            domain.stale.clear();
        }
    }

    /// The guest deletes a domain; the log judges and forgets it.
    pub fn deleted(&mut self, platform: &mut impl Platform, id: DomainId) {
        let Some(domain) = self.domains.get(&id) else { return };
        let tables = self.pages.values().filter(|page| page.domain == id).count();
        if let Some(first) = domain.stale.first() {
            let pages = domain.stale.pages();
            self.findings.push(Finding { domain: id, fault: Fault::DeletedStale { pages, first } });
        } else if domain.cached == Cached::Maybe && !self.is_empty(platform, id) {
            self.findings.push(Finding { domain: id, fault: Fault::DeletedCached { tables } });
        }
        self.forget(platform, id);
    }

    /// Follows a domain no longer.
    pub fn forget(&mut self, platform: &mut impl Platform, id: DomainId) {
        let writer = self.writer;
        self.domains.remove(&id);
        self.pages.retain(|&page, entry| {
            let stays = entry.domain != id;
            if !stays {
                writer.unwatch(platform, Gpa(page));
            }
            stays
        });
    }

    /// Follows no domain longer: the kernel that made them is gone, and with it what its memory was used for.
    pub fn forget_all(&mut self, platform: &mut impl Platform) {
        self.domains.clear();
        for page in core::mem::take(&mut self.pages).into_keys() {
            self.writer.unwatch(platform, Gpa(page));
        }
    }

    /// What was not flushed of a domain; `None` when it is not followed.
    pub fn stale(&self, id: DomainId) -> Option<Stale> {
        let domain = self.domains.get(&id)?;
        let taken_out = self.pages.values().filter(|page| page.domain == id && page.link == Link::TakenOut);
        Some(Stale { pages: domain.stale.pages(), first: domain.stale.first(), tables: taken_out.count() as u64 })
    }

    /// Number of pages that are watched.
    pub fn watched(&self) -> usize {
        self.pages.len()
    }

    /// The hypervisor stores the 64-bit word at `gpa`, in a table of its own or in a page that will be one.
    ///
    /// # Errors
    /// [`BadGpa`] when there is no memory.
    pub fn store(&mut self, platform: &mut impl Platform, gpa: Gpa, new: u64) -> Result<(), BadGpa> {
        let old = platform.exchange_u64(gpa, new)?;
        if let Some(&page) = self.pages.get(&page_of(gpa).0) {
            self.changed(platform, page, (gpa.0 % TABLE_BYTES / 8) as u16, old, new);
        }
        Ok(())
    }

    /// The guest, at `rip`, writes the 64-bit word at `gpa`, which is in a watched page.
    pub fn write(&mut self, platform: &mut impl Platform, gpa: Gpa, operation: Operation, rip: u64) -> WriteOutcome {
        let table = page_of(gpa);
        let page = match self.pages.get(&table.0) {
            Some(&page) if gpa.0 % 8 == 0 => page,
            _ => return self.foreign_write(platform, gpa, rip),
        };
        if page.link == Link::TakenOut {
            return self.foreign_write(platform, gpa, rip);
        }
        let done = match operation {
            Operation::Exchange(new) => platform.exchange_u64(gpa, new).map(|old| (old, new)),
            Operation::CompareExchange { expected, new } => {
                let old = platform.compare_exchange_u64(gpa, expected, new);
                old.map(|old| (old, if old == expected { new } else { old }))
            }
        };
        match done {
            Ok((old, new)) => {
                let index = (gpa.0 % TABLE_BYTES / 8) as u16;
                self.changed(platform, page, index, old, new);
                WriteOutcome::Done(old)
            }
            // Not reached: only RAM is watched.
            Err(_) => self.foreign_write(platform, gpa, rip),
        }
    }

    /// The guest, at `rip`, writes to the page of `gpa`, and not by storing an entry.
    pub fn foreign_write(&mut self, platform: &mut impl Platform, gpa: Gpa, rip: u64) -> WriteOutcome {
        let page = page_of(gpa);
        match self.pages.get(&page.0).copied() {
            None => self.writer.unwatch(platform, page),
            Some(Page { domain, place, link: Link::TakenOut }) => {
                let fault = Fault::TableReused { page, place, rip };
                self.findings.push(Finding { domain, fault });
                self.pages.remove(&page.0);
                self.writer.unwatch(platform, page);
            }
            Some(Page { domain, place, link: Link::InTree }) => {
                let fault = Fault::TableOverwritten { page, place, rip };
                self.findings.push(Finding { domain, fault });
                // What is in the table now is no table.
                self.forget(platform, domain);
            }
        }
        WriteOutcome::Retry
    }

    /// Entry `index` of a table in the tree was `old` and is `new`.
    fn changed(&mut self, platform: &mut impl Platform, page: Page, index: u16, old: u64, new: u64) {
        let Page { domain, place, .. } = page;
        let (before, after) = (Entry::decode(old, place.level), Entry::decode(new, place.level));
        if before == after {
            return;
        }
        let range = place.entry_range(index);
        // What comes is judged by what was there before this store.
        match after {
            Entry::Absent => {}
            Entry::Leaf(_) => self.mapped(domain, range),
            Entry::Table(table) => {
                if let Some(child) = place.child(index) {
                    self.link(platform, domain, table, child);
                }
            }
        }
        match before {
            Entry::Absent => {}
            Entry::Leaf(leaf) => match (self.writer, after, place.child(index)) {
                (Writer::Hypervisor, Entry::Table(table), Some(child)) => {
                    self.split(platform, domain, leaf, table, child);
                }
                _ => self.removed(platform, domain, range),
            },
            Entry::Table(table) => {
                if let Some(child) = place.child(index) {
                    self.take_out(platform, domain, table, child);
                }
            }
        }
    }

    /// A translation of `range` is in the tree.
    fn mapped(&mut self, id: DomainId, range: IovaRange) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        if let Some(hit) = domain.stale.first_in(range) {
            self.findings.push(Finding { domain: id, fault: Fault::MappedAgain(hit) });
            // Once is enough.
            domain.stale.remove(range);
        }
    }

    /// A translation of `range` is in the tree no longer.
    fn removed(&mut self, platform: &mut impl Platform, id: DomainId, range: IovaRange) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        if domain.cached == Cached::Nothing {
            return;
        }
        domain.stale.insert(range);
        if domain.stale.range_count() > RANGES_MAX {
            self.give_up(platform, id);
        }
    }

    /// A table has come in the place of `leaf`. What it translates as the leaf did stays, also in the caches.
    fn split(&mut self, platform: &mut impl Platform, id: DomainId, leaf: u64, table: Gpa, child: Place) {
        let parts = present_entries(platform, table, child.level);
        for index in 0..ENTRIES {
            let part = entry::part(leaf, child, index);
            if !parts.contains(&(index, part)) {
                self.removed(platform, id, child.entry_range(index));
            }
        }
    }

    /// The page at `table` is a table of a domain from now on, with all that it leads to.
    fn link(&mut self, platform: &mut impl Platform, id: DomainId, table: Gpa, place: Place) {
        if !platform.is_guest_ram(table, TABLE_BYTES) || !self.domains.contains_key(&id) {
            return;
        }
        if let Some(&Page { domain: owner, link, .. }) = self.pages.get(&table.0) {
            self.findings.push(Finding { domain: id, fault: Fault::TableShared { page: table, owner } });
            if link == Link::InTree {
                // It has one place only; what it leads to is there, too.
                return;
            }
        }
        if self.pages.len() >= PAGES_MAX || self.writer.watch(platform, table).is_err() {
            return self.give_up(platform, id);
        }
        self.pages.insert(table.0, Page { domain: id, place, link: Link::InTree });
        for (index, entry) in present_entries(platform, table, place.level) {
            match (entry, place.child(index)) {
                (Entry::Leaf(_), _) => self.mapped(id, place.entry_range(index)),
                (Entry::Table(next), Some(child)) => self.link(platform, id, next, child),
                (Entry::Absent, _) | (Entry::Table(_), None) => {}
            }
        }
    }

    /// Nothing in the tree leads to the page at `table` any more, nor to what it leads to.
    fn take_out(&mut self, platform: &mut impl Platform, id: DomainId, table: Gpa, place: Place) {
        let here = |page: &Page| page.domain == id && page.place == place && page.link == Link::InTree;
        let (Some(page), Some(domain)) = (self.pages.get_mut(&table.0), self.domains.get_mut(&id)) else { return };
        if !here(page) {
            return;
        }
        match domain.cached {
            Cached::Nothing => {
                self.pages.remove(&table.0);
                self.writer.unwatch(platform, table);
            }
            Cached::Maybe => {
                page.link = Link::TakenOut;
                domain.stale_tables.insert(place.range());
            }
        }
        for (index, entry) in present_entries(platform, table, place.level) {
            match (entry, place.child(index)) {
                (Entry::Leaf(_), _) => self.removed(platform, id, place.entry_range(index)),
                (Entry::Table(next), Some(child)) => self.take_out(platform, id, next, child),
                (Entry::Absent, _) | (Entry::Table(_), None) => {}
            }
        }
    }

    /// Lets go of the tables that were taken out and that flushes have covered by now.
    fn release_tables(&mut self, platform: &mut impl Platform, id: DomainId) {
        let Some(domain) = self.domains.get(&id) else { return };
        let writer = self.writer;
        self.pages.retain(|&at, page| {
            let stays = page.domain != id
                || page.link == Link::InTree
                || domain.stale_tables.first_in(page.place.range()).is_some();
            if !stays {
                writer.unwatch(platform, Gpa(at));
            }
            stays
        });
    }

    /// Whether a domain's root has no entry.
    fn is_empty(&self, platform: &impl Platform, id: DomainId) -> bool {
        let Some(domain) = self.domains.get(&id) else { return true };
        let root = self.pages.get(&domain.root.0);
        root.is_none_or(|page| present_entries(platform, domain.root, page.place.level).is_empty())
    }

    fn give_up(&mut self, platform: &mut impl Platform, id: DomainId) {
        platform.log(LogLevel::Info, format_args!("cache: domain {} is too large, no longer followed", id.0));
        self.forget(platform, id);
    }
}

fn page_of(gpa: Gpa) -> Gpa {
    Gpa(gpa.0 & !(TABLE_BYTES - 1))
}

fn present_entries(platform: &impl Platform, table: Gpa, level: Level) -> Vec<(u16, Entry)> {
    const CHUNK: u16 = 64;
    let mut found = Vec::new();
    let mut bytes = [0; 8 * CHUNK as usize];
    for first in (0..ENTRIES).step_by(CHUNK.into()) {
        if platform.read(Gpa(table.0 + 8 * u64::from(first)), &mut bytes).is_err() {
            return found;
        }
        for (index, word) in (first..).zip(bytes.chunks_exact(8)) {
            match Entry::decode(word.try_into().map_or(0, u64::from_le_bytes), level) {
                Entry::Absent => {}
                entry => found.push((index, entry)),
            }
        }
    }
    found
}
