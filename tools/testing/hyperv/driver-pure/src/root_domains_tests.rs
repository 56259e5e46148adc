// SPDX-License-Identifier: GPL-2.0
//! Sixteen domains for a long time: whatever is mapped and unmapped, and whatever fails, the driver's record says what the
//! hypervisor has.

use crate::root::page_range::{Unit, LARGE_PAGES};
use crate::root_model::{range, Model, Record};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const DOMAINS: usize = 16;
/// Operations of one sequence.
const SEQUENCE: usize = 512;
/// Operations in all, where the environment's PROPTEST_CASES does not say how many.
const OPERATIONS: usize = 8 * SEQUENCE;
/// Domains reach so many pages.
const PAGES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Map(Unit),
    /// Any pages, out of the middle of large ones, too.
    Unmap,
    /// Large pages as a whole.
    UnmapWhole,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    domain: usize,
    action: Action,
    first: u64,
    count: u64,
    frame: u64,
    /// Operations that a call does before it pauses.
    pause: u64,
    /// The call that fails, and how many operations it does.
    failure: Option<(u32, u64)>,
    /// The deposit that is refused.
    refused: Option<u32>,
}

fn operation() -> impl Strategy<Value = Operation> {
    let action = prop_oneof![
        3 => Just(Action::Map(Unit::Small)),
        3 => Just(Action::Map(Unit::Large)),
        4 => Just(Action::Unmap),
        1 => Just(Action::UnmapWhole),
    ];
    let count = prop_oneof![1 => 1u64..8, 2 => 8u64..1500];
    let failure = prop_oneof![5 => Just(None), 1 => (0u32..3, 0u64..600).prop_map(Some)];
    let refused = prop_oneof![5 => Just(None), 1 => (0u32..3).prop_map(Some)];
    (0..DOMAINS, action, 0..PAGES, count, 0u64..4, 1u64..700, failure, refused).prop_map(
        |(domain, action, first, count, frame, pause, failure, refused)| Operation {
            domain,
            action,
            first,
            count,
            frame: frame << 20,
            pause,
            failure,
            refused,
        },
    )
}

/// A domain, as both have it.
struct Domain {
    model: Model,
    record: Record,
}

/// How often something happened in a run.
#[derive(Debug, Default)]
struct Tally {
    mapped: u64,
    unmapped: u64,
    /// Large pages that were split.
    split: u64,
    /// Maps and unmaps that failed.
    failed: u64,
    /// Domains that were given up, as an unmap failed.
    closed: u64,
}

impl Domain {
    /// The hypervisor has memory for one table, and `gift` pages with each deposit.
    fn new(gift: u64) -> Domain {
        Domain { model: Model::new(1, gift), record: Record::default() }
    }

    fn count(&self, first: u64, count: u64) -> u64 {
        self.model.pages.borrow().range(first..first + count).count() as u64
    }

    /// Maps where nothing is. What a failure left is unmapped, as the IOMMU core does.
    fn map(&mut self, unit: Unit, operation: &Operation, tally: &mut Tally) {
        let first = operation.first - operation.first % unit.pages();
        let count = operation.count.next_multiple_of(unit.pages());
        if self.count(first, count) > 0 {
            return;
        }
        let outcome = self.record.map(&self.model, range(first, count), operation.frame + first, unit);
        let done = self.count(first, count);
        assert_eq!(outcome.pages, done);
        tally.mapped += done;
        if outcome.result.is_ok() {
            assert_eq!(done, count);
            return;
        }
        tally.failed += 1;
        if done > 0 {
            self.model.fails_in.set(None);
            self.model.refuses_in.set(None);
            assert!(self.record.unmap(&self.model, range(first, done), unit).result.is_ok());
            assert_eq!(self.count(first, count), 0);
        }
    }

    /// Unmaps what is mapped from the first page on without a gap, or some of it. Returns whether the domain is of use yet.
    fn unmap(&mut self, unit: Unit, operation: &Operation, tally: &mut Tally) -> bool {
        let large = self.model.large.borrow().len();
        let Some((first, count)) = self.found(unit, operation) else { return true };
        let before = self.model.pages.borrow().len() as u64;
        let outcome = self.record.unmap(&self.model, range(first, count), unit);
        let done = before - self.model.pages.borrow().len() as u64;
        assert_eq!(outcome.pages, done);
        tally.unmapped += done;
        let gone = large - self.model.large.borrow().len();
        tally.split += gone as u64 - (done / LARGE_PAGES).min(gone as u64);
        if outcome.result.is_ok() {
            assert_eq!(done, count);
            return true;
        }
        tally.failed += 1;
        let Some(rest) = range(first, count).without_first(done) else { return true };
        self.record.doubt(rest);
        assert_eq!(self.record.stale(), rest.count());
        false
    }

    fn found(&self, unit: Unit, operation: &Operation) -> Option<(u64, u64)> {
        let pages = self.model.pages.borrow();
        let first = match unit {
            Unit::Small => *pages.range(operation.first..).next()?.0,
            Unit::Large => *self.model.large.borrow().range(operation.first..).next()?,
        };
        let mapped = (0..operation.count.next_multiple_of(unit.pages()))
            .take_while(|offset| pages.contains_key(&(first + offset)))
            .count() as u64;
        Some((first, mapped - mapped % unit.pages()))
    }

    /// Page by page.
    fn agrees(&self) {
        assert_eq!(self.record.pages(), *self.model.pages.borrow());
    }
}

fn run(operations: &[Operation], gift: u64, tally: &mut Tally) {
    let mut domains: Vec<Domain> = (0..DOMAINS).map(|_| Domain::new(gift)).collect();
    for operation in operations {
        let domain = &mut domains[operation.domain];
        domain.model.pause.set(operation.pause);
        domain.model.fails_in.set(operation.failure);
        domain.model.refuses_in.set(operation.refused);
        let is_open = match operation.action {
            Action::Map(unit) => {
                domain.map(unit, operation, tally);
                true
            }
            Action::Unmap => domain.unmap(Unit::Small, operation, tally),
            Action::UnmapWhole => domain.unmap(Unit::Large, operation, tally),
        };
        domain.agrees();
        if !is_open {
            // It is closed, and deleted with all that is in it.
            tally.closed += 1;
            *domain = Domain::new(gift);
        }
    }
    // To the end: a record of nothing is empty.
    for mut domain in domains {
        domain.model.fails_in.set(None);
        domain.model.refuses_in.set(None);
        let everything = Operation { first: 0, count: 1, pause: u64::MAX, ..operations[0] };
        while !domain.model.pages.borrow().is_empty() {
            let whole = Operation { count: 2 * PAGES, ..everything };
            assert!(domain.unmap(Unit::Small, &whole, tally));
        }
        domain.agrees();
        assert!(domain.record.0.is_empty());
    }
}

fn operations() -> usize {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(OPERATIONS)
}

#[test]
fn sixteen_domains_are_what_the_record_says() {
    let cases = operations().div_ceil(SEQUENCE) as u32;
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let tally = std::cell::RefCell::new(Tally::default());
    let sequences = (prop::collection::vec(operation(), SEQUENCE), 1u64..4);
    let result = runner.run(&sequences, |(operations, gift)| {
        run(&operations, gift, &mut tally.borrow_mut());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let tally = tally.into_inner();
    let Tally { mapped, unmapped, split, failed, closed } = tally;
    assert!(
        [mapped, unmapped, split, failed, closed].iter().all(|count| *count > 0),
        "not everything happened: {tally:?}"
    );
}
