// SPDX-License-Identifier: GPL-2.0
//! The log of the caches behind hypercalls and the test interface.

use super::*;
use crate::cachelog::{Operation, WriteOutcome};
use crate::ids::Gpa;

const LEVEL_3: u64 = 0x2_1000;
const LEVEL_2: u64 = 0x2_2000;
const LEVEL_1: u64 = 0x2_3000;
const PAGES: u32 = 0;
const FIRST: u32 = 1;
const TABLES: u32 = 2;

/// A guest with a domain 1 of three levels of tables, and a device in it.
fn guest(options: &str) -> Guest {
    let mut guest = Guest::new(options);
    for (table, next) in [(ROOT, LEVEL_3), (LEVEL_3, LEVEL_2), (LEVEL_2, LEVEL_1)] {
        guest.platform.put_u64(table, next | 0x27);
    }
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest
}

impl Guest {
    fn write(&mut self, gpa: u64, value: u64) {
        let outcome =
            self.partition.watched_write(&mut self.platform, Gpa(gpa), Operation::Exchange(value), 0xffff_8000);
        assert!(matches!(outcome, WriteOutcome::Done(_)));
    }

    fn map_and_unmap(&mut self, page: u64) {
        self.write(LEVEL_1 + 8 * page, 0x4_0067);
        self.write(LEVEL_1 + 8 * page, 0);
    }

    fn leave(&mut self) {
        self.domain(2, BLOCKED);
        assert_eq!(self.attach(2, DEVICE_0), Status(0));
    }
}

#[test]
fn flushes_of_both_kinds_clean() {
    let mut guest = guest("cache=strict");
    guest.map_and_unmap(5);
    guest.map_and_unmap(7);
    assert_eq!(guest.control(Command::Stale, 1, PAGES), 2);
    assert_eq!(guest.control(Command::Stale, 1, FIRST), 0x5000);
    assert_eq!(guest.flush_list(1, &[5 << 12]), (Status(0), 1));
    assert_eq!(guest.control(Command::Stale, 1, FIRST), 0x7000);
    assert_eq!(guest.flush(1), Status(0));
    assert_eq!(guest.control(Command::Stale, 1, PAGES), 0);
    assert_eq!(guest.control(Command::Stale, 1, TABLES), 0);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    assert_eq!(guest.refused(Command::Stale, 2, PAGES), 3);
    assert_eq!(guest.refused(Command::Stale, 1, 3), 2);
}

#[test]
fn a_delete_that_is_trusted_to_flush_is_a_violation() {
    let mut guest = guest("cache=strict");
    guest.map_and_unmap(5);
    guest.leave();
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 1);
    assert!(guest.has_line("violation: cache: domain 1: iova 0x5000-0x5fff: deleted with 1 pages unmapped"));
}

#[test]
fn a_device_comes_back_to_what_was_not_flushed() {
    for (options, violations) in [("cache=strict", 1), ("cache=deferred", 0)] {
        let mut guest = guest(options);
        guest.leave();
        guest.map_and_unmap(5);
        assert_eq!(guest.attach(1, DEVICE_0), Status(0));
        assert_eq!(guest.counter(Counter::Violations, 0), violations);
    }
}

#[test]
fn a_domain_without_devices_is_flushed_all_the_same() {
    let mut guest = guest("cache=strict");
    guest.leave();
    guest.map_and_unmap(5);
    assert_eq!(guest.control(Command::Stale, 1, PAGES), 1);
    assert_eq!(guest.flush(1), Status(0));
    guest.map_and_unmap(5);
    assert_eq!(guest.control(Command::Stale, 1, PAGES), 0);
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    assert!(guest.platform.watched.is_empty());
}

#[test]
fn a_root_that_is_a_table_already_is_refused() {
    let mut guest = guest("cache=strict");
    assert_eq!(guest.create(3), Status(0));
    for root in [ROOT, LEVEL_1] {
        assert_eq!(guest.configure(3, Settings { flags: 1, root }), Status(5));
    }
    assert_eq!(guest.counter(Counter::Violations, 0), 2);
    guest.leave();
    assert_eq!(guest.flush(1), Status(0));
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.configure(3, PAGING), Status(0));
}

#[test]
fn what_a_rule_claims_is_believed() {
    let mut guest = guest("cache=strict inject=d0:0:1:1 inject=c5:0:1:1");
    guest.map_and_unmap(5);
    guest.leave();
    assert_eq!(guest.flush(1), Status(0));
    assert_eq!(guest.control(Command::Stale, 1, PAGES), 0);
    assert_eq!(guest.delete(1), Status(0));
    assert!(guest.platform.watched.is_empty());
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

#[test]
fn switched_off_it_watches_nothing() {
    let mut guest = guest("");
    assert!(guest.platform.watched.is_empty());
    assert_eq!(guest.refused(Command::Stale, 1, PAGES), 3);
    guest.leave();
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}
