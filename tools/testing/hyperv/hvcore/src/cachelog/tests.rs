// SPDX-License-Identifier: GPL-2.0
//! The log by itself, and against a model that keeps every page of a small address space.

use super::*;
use crate::testing::{function, MockPlatform};
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

const ID: DomainId = DomainId(3);
const ROOT: u64 = 0x1_0000;
/// Tables of levels 3, 2 and 1 below the root, for addresses from 0 on.
const LEVEL_3: u64 = 0x1_1000;
const LEVEL_2: u64 = 0x1_2000;
const LEVEL_1: u64 = 0x1_3000;
/// A table of level 1 that is not linked at first, for addresses from 2 MiB on.
const SPARE: u64 = 0x1_4000;
const TABLE_FLAGS: u64 = 0x27;
const LEAF_FLAGS: u64 = 0x67;
const RIP: u64 = 0xffff_ffff_8123_4567;

struct Guest {
    log: CacheLog,
    platform: MockPlatform,
}

impl Guest {
    /// A domain with tables of all levels for the first 2 MiB, empty, and a device in it.
    fn new() -> Guest {
        let mut guest = Guest {
            log: CacheLog::new(Writer::Guest, Strictness::Strict),
            platform: MockPlatform::new(vec![function(3)]),
        };
        for (table, next) in [(ROOT, LEVEL_3), (LEVEL_3, LEVEL_2), (LEVEL_2, LEVEL_1)] {
            guest.platform.put_u64(table, next | TABLE_FLAGS);
        }
        guest.log.configured(&mut guest.platform, ID, Gpa(ROOT), PagingLevels::Four);
        guest.log.attached(ID, 0);
        guest
    }

    fn store(&mut self, table: u64, index: u64, value: u64) {
        let outcome = self.log.write(&mut self.platform, Gpa(table + 8 * index), Operation::Exchange(value), RIP);
        assert!(matches!(outcome, WriteOutcome::Done(_)), "{outcome:?}");
    }

    fn map(&mut self, page: u64) {
        self.store(LEVEL_1, page, (0x10_0000 + page * 0x1000) | LEAF_FLAGS);
    }

    fn unmap(&mut self, page: u64) {
        self.store(LEVEL_1, page, 0);
    }

    fn flush(&mut self, page: u64, shift: u8) {
        self.log.flushed(&mut self.platform, ID, IovaRange::block(Iova(page << 12), shift));
    }

    fn flush_all(&mut self, devices: usize) {
        self.log.flushed_all(&mut self.platform, ID, devices);
    }

    fn delete(&mut self) {
        self.log.deleted(&mut self.platform, ID);
    }

    fn stale(&self) -> (u64, u64) {
        self.log.stale(ID).map(|stale| (stale.pages, stale.tables)).unwrap()
    }

    fn lines(&mut self) -> Vec<alloc::string::String> {
        self.log.take_findings().iter().map(ToString::to_string).collect()
    }

    fn watched(&self) -> Vec<u64> {
        self.platform.watched.iter().copied().collect()
    }
}

#[test]
fn an_unmap_is_stale_until_a_flush_covers_it() {
    let mut guest = Guest::new();
    assert_eq!(guest.watched(), [ROOT, LEVEL_3, LEVEL_2, LEVEL_1]);
    guest.map(4);
    guest.map(5);
    assert_eq!(guest.stale(), (0, 0));
    guest.unmap(4);
    guest.unmap(5);
    assert_eq!(guest.stale(), (2, 0));
    guest.flush(4, 0);
    assert_eq!(guest.stale(), (1, 0));
    guest.flush(5, 0);
    assert_eq!(guest.stale(), (0, 0));
    guest.map(4);
    assert_eq!(guest.lines(), [""; 0]);
}

#[test]
fn a_range_one_page_short_is_noticed_at_the_next_map() {
    let mut guest = Guest::new();
    (8..12).for_each(|page| guest.map(page));
    (8..12).for_each(|page| guest.unmap(page));
    guest.flush(8, 1);
    guest.flush(10, 0);
    (8..12).for_each(|page| guest.map(page));
    assert_eq!(guest.lines(), ["cache: domain 3: iova 0xb000-0xbfff mapped again before a flush covered it"]);
}

#[test]
fn a_changed_permission_is_stale_and_a_dirty_bit_is_not() {
    let mut guest = Guest::new();
    guest.map(1);
    guest.store(LEVEL_1, 1, 0x10_1000 | LEAF_FLAGS & !0x60);
    assert_eq!(guest.stale(), (0, 0));
    guest.store(LEVEL_1, 1, 0x10_1000 | LEAF_FLAGS & !2);
    assert_eq!(guest.stale(), (1, 0));
    // Not noticed as mapped again: what is cached is what was there.
    assert_eq!(guest.lines(), [""; 0]);
}

#[test]
fn without_a_device_nothing_new_is_cached() {
    let mut guest = Guest::new();
    guest.map(1);
    // The device leaves; what it had is cached still.
    guest.unmap(1);
    assert_eq!(guest.stale(), (1, 0));
    guest.flush_all(0);
    guest.map(1);
    guest.unmap(1);
    assert_eq!(guest.stale(), (0, 0));
    guest.log.attached(ID, 0);
    guest.map(1);
    guest.unmap(1);
    assert_eq!(guest.stale(), (1, 0));
    // With a device in the domain, the caches fill again at once.
    guest.flush_all(1);
    guest.map(1);
    guest.unmap(1);
    assert_eq!(guest.stale(), (1, 0));
}

#[test]
fn a_device_that_enters_meets_nothing_stale() {
    for (strictness, others, expected) in
        [(Strictness::Strict, 0, 1), (Strictness::Strict, 1, 0), (Strictness::Deferred, 0, 0)]
    {
        let mut guest = Guest::new();
        guest.log.strictness = strictness;
        guest.map(1);
        guest.unmap(1);
        guest.log.attached(ID, others);
        let line = "cache: domain 3: iova 0x1000-0x1fff: a device attached with 1 pages unmapped and not flushed";
        assert_eq!(guest.lines(), vec![line; expected]);
        guest.flush(1, 0);
        guest.log.attached(ID, 0);
        assert_eq!(guest.lines(), [""; 0]);
    }
}

#[test]
fn a_delete_does_not_flush() {
    let mut guest = Guest::new();
    guest.map(1);
    guest.unmap(1);
    guest.delete();
    let stale = "cache: domain 3: iova 0x1000-0x1fff: deleted with 1 pages unmapped and not flushed";
    assert_eq!((guest.lines(), guest.watched()), (vec![stale.to_string()], vec![]));

    let mut guest = Guest::new();
    guest.flush_all(1);
    guest.delete();
    assert_eq!(guest.lines(), ["cache: domain 3: deleted with 4 tables, not flushed since its last device left"]);

    let mut guest = Guest::new();
    guest.map(1);
    guest.flush_all(0);
    guest.delete();
    assert_eq!((guest.lines(), guest.watched()), (vec![], vec![]));
}

#[test]
fn a_table_is_kept_until_all_of_it_is_flushed() {
    let mut guest = Guest::new();
    guest.store(SPARE - 0x2000, 1, SPARE | TABLE_FLAGS);
    assert!(guest.platform.watched.contains(&SPARE));
    guest.store(SPARE, 7, 0x10_0000 | LEAF_FLAGS);
    guest.store(LEVEL_2, 1, 0);
    // The leaf that is in it is as unreachable as the table.
    assert_eq!(guest.stale(), (1, 1));
    guest.flush(0x200, 8);
    assert_eq!(guest.stale(), (0, 1));
    assert!(guest.platform.watched.contains(&SPARE));
    guest.flush(0x300, 8);
    assert_eq!(guest.stale(), (0, 0));
    assert!(!guest.platform.watched.contains(&SPARE));
    assert_eq!(guest.lines(), [""; 0]);
}

#[test]
fn a_table_that_is_used_for_something_else_before_its_flush() {
    let mut guest = Guest::new();
    guest.store(LEVEL_2, 1, SPARE | TABLE_FLAGS);
    guest.store(LEVEL_2, 1, 0);
    let outcome = guest.log.write(&mut guest.platform, Gpa(SPARE + 8), Operation::Exchange(0x5a5a), RIP);
    assert_eq!(outcome, WriteOutcome::Retry);
    let line = "cache: domain 3: iova 0x200000-0x3fffff: page 0x14000, its table of level 1, reused before a flush, \
                rip 0xffffffff81234567";
    assert_eq!(guest.lines(), [line]);
    assert!(!guest.platform.watched.contains(&SPARE));
    // As a table again, the same.
    guest.store(LEVEL_2, 2, LEVEL_1 + 0x5000 | TABLE_FLAGS);
    guest.store(LEVEL_2, 2, 0);
    guest.store(LEVEL_2, 3, LEVEL_1 + 0x5000 | TABLE_FLAGS);
    assert_eq!(guest.lines(), ["cache: domain 3: page 0x18000 made a table, but it is one of domain 3 still"]);
}

#[test]
fn a_table_in_use_that_is_overwritten() {
    let mut guest = Guest::new();
    assert_eq!(guest.log.foreign_write(&mut guest.platform, Gpa(LEVEL_1 + 0x123), RIP), WriteOutcome::Retry);
    let line = "cache: domain 3: iova 0x0-0x1fffff: page 0x13000, its table of level 1, overwritten in use, \
                rip 0xffffffff81234567";
    assert_eq!((guest.lines(), guest.watched()), (vec![line.to_string()], vec![]));
    // A write that comes late finds nothing to report.
    assert_eq!(guest.log.foreign_write(&mut guest.platform, Gpa(LEVEL_1), RIP), WriteOutcome::Retry);
    assert_eq!(guest.lines(), [""; 0]);
}

#[test]
fn a_large_leaf_may_take_an_empty_tables_place_before_the_flush() {
    let mut guest = Guest::new();
    guest.map(3);
    guest.unmap(3);
    guest.flush(3, 0);
    guest.store(LEVEL_2, 0, 0);
    guest.store(LEVEL_2, 0, 0x20_0000 | LEAF_FLAGS | 0x80);
    assert_eq!((guest.stale(), guest.lines()), ((0, 1), vec![]));
    guest.flush(0, 9);
    assert_eq!(guest.stale(), (0, 0));
    // In one store, too.
    let mut guest = Guest::new();
    guest.store(LEVEL_2, 0, 0x20_0000 | LEAF_FLAGS | 0x80);
    assert_eq!((guest.stale(), guest.lines()), ((0, 1), vec![]));
}

#[test]
fn a_compare_and_exchange_that_fails_changes_nothing() {
    let mut guest = Guest::new();
    guest.map(1);
    let at = Gpa(LEVEL_1 + 8);
    let operation = Operation::CompareExchange { expected: 0, new: 0x1234_5067 };
    assert_eq!(guest.log.write(&mut guest.platform, at, operation, RIP), WriteOutcome::Done(0x10_1067));
    assert_eq!((guest.platform.get_u64(at.0), guest.stale()), (0x10_1067, (0, 0)));
    let operation = Operation::CompareExchange { expected: 0x10_1067, new: 0 };
    assert_eq!(guest.log.write(&mut guest.platform, at, operation, RIP), WriteOutcome::Done(0x10_1067));
    assert_eq!((guest.platform.get_u64(at.0), guest.stale()), (0, (1, 0)));
}

#[test]
fn what_cannot_be_watched_is_not_followed() {
    let mut guest = Guest::new();
    guest.platform.watch_limit = 4;
    guest.store(LEVEL_2, 1, SPARE | TABLE_FLAGS);
    assert_eq!((guest.log.stale(ID), guest.watched(), guest.lines()), (None, vec![], vec![]));
    assert!(guest.platform.lines.iter().any(|(_, line)| line == "cache: domain 3 is too large, no longer followed"));
}

#[test]
fn a_kernel_that_leaves_takes_its_domains_along() {
    let mut guest = Guest::new();
    guest.log.forget_all(&mut guest.platform);
    assert_eq!((guest.log.stale(ID), guest.watched(), guest.log.watched()), (None, vec![], 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Map(u64),
    Unmap(u64),
    Link,
    TakeOut,
    Flush(u64, u8),
    FlushAll(usize),
    Attach,
}

fn step() -> impl Strategy<Value = Step> {
    // Pages on both sides of the border between the two tables.
    let page = 0x1f8u64..0x208;
    prop_oneof![
        4 => page.clone().prop_map(Step::Map),
        4 => page.clone().prop_map(Step::Unmap),
        1 => Just(Step::Link),
        1 => Just(Step::TakeOut),
        4 => (page, 0u8..11).prop_map(|(page, shift)| Step::Flush(page, shift)),
        1 => (0usize..2).prop_map(Step::FlushAll),
        1 => Just(Step::Attach),
    ]
}

/// Everything, page by page.
#[derive(Default)]
struct Model {
    mapped: BTreeSet<u64>,
    stale: BTreeSet<u64>,
    stale_table: BTreeSet<u64>,
    linked: bool,
    cached: bool,
    again: usize,
}

impl Model {
    fn unmap(&mut self, page: u64) {
        if self.mapped.remove(&page) && self.cached {
            self.stale.insert(page);
        }
    }
}

proptest! {
    #[test]
    fn the_log_agrees_with_a_model(steps in prop::collection::vec(step(), 0..60)) {
        let mut guest = Guest::new();
        let mut model = Model { cached: true, ..Model::default() };
        for step in steps {
            let upper = |page: u64| page >= 0x200;
            match step {
                Step::Map(page) if !upper(page) || model.linked => {
                    let table = if upper(page) { SPARE } else { LEVEL_1 };
                    if model.mapped.insert(page) && model.stale.remove(&page) {
                        model.again += 1;
                    }
                    guest.store(table, page & 0x1ff, (0x10_0000 + page * 0x1000) | LEAF_FLAGS);
                }
                Step::Unmap(page) if !upper(page) || model.linked => {
                    let table = if upper(page) { SPARE } else { LEVEL_1 };
                    model.unmap(page);
                    guest.store(table, page & 0x1ff, 0);
                }
                // Only when the page is free, as a sound guest would: an unlinked table is no use until flushed.
                Step::Link if !model.linked && model.stale_table.is_empty() => {
                    guest.platform.ram[SPARE as usize..SPARE as usize + 4096].fill(0);
                    guest.store(LEVEL_2, 1, SPARE | TABLE_FLAGS);
                    model.linked = true;
                }
                Step::TakeOut if model.linked => {
                    guest.store(LEVEL_2, 1, 0);
                    model.linked = false;
                    (0x200..0x400).for_each(|page| model.unmap(page));
                    if model.cached {
                        model.stale_table.extend(0x200..0x400);
                    }
                }
                Step::Flush(page, shift) => {
                    let block = |other: &u64| other >> shift == page >> shift;
                    model.stale.retain(|page| !block(page));
                    model.stale_table.retain(|page| !block(page));
                    guest.flush(page, shift);
                }
                Step::FlushAll(devices) => {
                    model.stale.clear();
                    model.stale_table.clear();
                    model.cached &= devices != 0;
                    guest.flush_all(devices);
                }
                Step::Attach => {
                    model.cached = true;
                    guest.log.attached(ID, 1);
                }
                Step::Map(_) | Step::Unmap(_) | Step::Link | Step::TakeOut => {}
            }
            let again = guest.log.take_findings().len();
            prop_assert_eq!(again, core::mem::take(&mut model.again));
            let stale = guest.log.stale(ID).unwrap();
            prop_assert_eq!(stale.pages, model.stale.len() as u64);
            prop_assert_eq!(stale.first.map(|range| range.first().0 >> 12), model.stale.first().copied());
            prop_assert_eq!(stale.tables, u64::from(!model.stale_table.is_empty()));
            let watched = model.linked || !model.stale_table.is_empty();
            prop_assert_eq!(guest.platform.watched.contains(&SPARE), watched);
            prop_assert_eq!(guest.log.watched(), guest.platform.watched.len());
        }
    }

    #[test]
    fn any_writes_are_survived(
        writes in prop::collection::vec((0u64..6, 0u64..512, any::<u64>(), any::<bool>()), 0..60),
    ) {
        let mut guest = Guest::new();
        for (table, index, value, small) in writes {
            let value = if small { value & 0x7_f0ff | 1 } else { value };
            let operation = Operation::Exchange(value);
            let gpa = Gpa(ROOT + 0x1000 * table + 8 * index);
            if guest.platform.watched.contains(&(gpa.0 & !0xfff)) {
                guest.log.write(&mut guest.platform, gpa, operation, RIP);
            } else {
                guest.platform.put_u64(gpa.0, value);
            }
            guest.flush(index, (index % 53) as u8);
            prop_assert_eq!(guest.log.watched(), guest.platform.watched.len());
        }
        guest.delete();
        prop_assert!(guest.platform.watched.is_empty());
    }
}
