// SPDX-License-Identifier: GPL-2.0
//! Mapping and unmapping against a slow model of the hypervisor, which pauses, lacks memory and fails.

use crate::root::leaf::{Claim, Frames, Leaf, LeafOffsets};
use crate::root::page_range::{unmapped_by_one_call, PageRange, Unit, LARGE_PAGES};
use crate::root::transfer::{Stop, FRUITLESS_DEPOSITS_MAX};
use crate::root_model::{range, Failure, Model, Record};
use proptest::prelude::*;

/// Readers of crash dumps go by these: where the parts of a leaf are, which do not overlap.
#[test]
fn parts_of_a_leaf_lie_apart() {
    const BITS: u64 = LARGE_PAGES / 8;
    let LeafOffsets { memory, present, stale } = Leaf::<Box<Frames>>::OFFSETS;
    let mut parts = [(memory, 16), (present, BITS), (stale, BITS)];
    parts.sort_unstable();
    let mut end = 0;
    for (first, bytes) in parts {
        assert!(first >= end && first % 8 == 0, "{parts:?}");
        end = first + bytes;
    }
    assert!(end <= size_of::<Leaf<Box<Frames>>>() as u64);
}

#[test]
fn ranges_are_whole_pages() {
    assert_eq!((range(3, 5).first(), range(3, 5).count()), (3, 5));
    for (address, bytes) in [(0, 0), (1, 0x1000), (0, 0xfff), (u64::MAX - 0xfff, 0x2000)] {
        assert_eq!(PageRange::of_bytes(address, bytes), None, "{address:#x} {bytes:#x}");
    }
    assert!(PageRange::of_bytes(u64::MAX - 0xfff, 0x1000).is_some());
    let parts: Vec<(u64, u64)> = range(510, 516).by_large_page().map(|part| (part.first(), part.count())).collect();
    assert_eq!(parts, [(510, 2), (512, 512), (1024, 2)]);
}

#[test]
fn pages_of_the_core_are_small_or_large() {
    let units = [1 << 12, 1 << 20, 1 << 21, 1 << 30].map(Unit::for_pages);
    assert_eq!(units, [Unit::Small, Unit::Small, Unit::Large, Unit::Large]);
}

#[test]
fn calls_are_filled() {
    let model = Model::new(100, 0);
    let mut record = Record::default();
    assert_eq!(record.map(&model, range(0, 1100), 5000, Unit::Small).pages, 1100);
    assert_eq!(model.calls.take(), 3, "507, 507, 86");
    assert_eq!(record.unmap(&model, range(0, 1100), Unit::Small).pages, 1100);
    assert_eq!(model.calls.take(), 1);
    assert_eq!(record.map(&model, range(0, 600 * 512), 512, Unit::Large).pages, 600 * 512);
    assert_eq!(model.calls.take(), 2, "507, 93");
    assert_eq!(record.unmap(&model, range(0, 600 * 512), Unit::Large).pages, 600 * 512);
    assert_eq!(model.calls.take(), 86, "3584 pages each: no large page is cut");
    assert_eq!((model.deposits.get(), record.0.len()), (0, 0));
}

#[test]
fn no_call_ends_inside_a_large_page() {
    assert_eq!(unmapped_by_one_call(range(0, 9000), Unit::Small, 4095), 4095);
    assert_eq!(unmapped_by_one_call(range(512, 9000), Unit::Large, 4095), 3584);
    assert_eq!(unmapped_by_one_call(range(512, 4000), Unit::Large, 4095), 4000);
}

#[test]
fn memory_is_given_until_it_is_of_no_use() {
    let model = Model::new(0, 1);
    let mut record = Record::default();
    assert!(record.map(&model, range(0, 2000), 0, Unit::Small).result.is_ok());
    assert_eq!(model.deposits.take(), 4);
    model.gift.set(0);
    let outcome = record.map(&model, range(4096, 1), 0, Unit::Small);
    assert_eq!((outcome.pages, outcome.result), (0, Err(Stop::Refused(Failure::Memory))));
    assert_eq!(model.deposits.take(), FRUITLESS_DEPOSITS_MAX);
    assert_eq!(record.find(4096), None);
}

#[test]
fn what_is_wanted_is_given() {
    let model = Model::new(0, 1);
    let mut record = Record::default();
    model.wants_blocks.set(2);
    assert_eq!(record.map(&model, range(0, 1), 0, Unit::Small).result, Ok(()));
    assert_eq!((model.deposits.take(), model.blocks.take()), (2, 2), "they are of use for pages, too");
    model.wants_blocks.set(u32::MAX);
    assert_eq!(record.unmap(&model, range(0, 1), Unit::Small).result, Err(Stop::Refused(Failure::Block)));
    assert_eq!((model.deposits.get(), model.blocks.get()), (FRUITLESS_DEPOSITS_MAX, FRUITLESS_DEPOSITS_MAX));
}

#[test]
fn memory_that_is_of_use_is_given_for_as_long_as_it_takes() {
    const TABLES: u64 = 2 * FRUITLESS_DEPOSITS_MAX as u64;
    let model = Model::new(0, 1);
    let mut record = Record::default();
    let outcome = record.map(&model, range(0, TABLES * LARGE_PAGES), 0, Unit::Small);
    assert_eq!((outcome.pages, outcome.result), (TABLES * LARGE_PAGES, Ok(())));
    assert_eq!(u64::from(model.deposits.get()), TABLES);
}

#[test]
fn what_a_failed_call_did_is_known() {
    let model = Model::new(100, 0);
    let mut record = Record::default();
    model.fails_in.set(Some((1, 3)));
    let outcome = record.map(&model, range(0, 600), 9000, Unit::Small);
    assert_eq!((outcome.pages, outcome.result), (510, Err(Stop::Refused(Failure::Injected))));
    assert_eq!(record.pages(), *model.pages.borrow());
    model.fails_in.set(Some((0, 7)));
    let outcome = record.unmap(&model, range(0, 510), Unit::Small);
    assert_eq!((outcome.pages, outcome.result), (7, Err(Stop::Refused(Failure::Injected))));
    assert_eq!((record.find(6), record.find(7)), (None, Some(9007)));
    assert_eq!(record.pages(), *model.pages.borrow());
}

#[test]
fn a_leaf_takes_any_mappings() {
    let mut leaf: Leaf<Box<Frames>> = Leaf::claimed(1024, 7000);
    assert_eq!(leaf.claim(1024 + 9, 7009), Claim::Granted, "the same distance");
    assert_eq!(leaf.claim(1024 + 9, 7010), Claim::NeedsTable);
    leaf.note(range(1024, 5), 7000);
    leaf.use_table(2, Box::new([0; 512]));
    assert_eq!(leaf.claim(1024 + 9, 7010), Claim::Granted);
    leaf.note(range(1024 + 9, 1), 7010);
    let found: Vec<Option<u64>> = [1023, 1024, 1028, 1029, 1033].iter().map(|page| leaf.find(*page)).collect();
    assert_eq!(found[1..], [Some(7000), Some(7004), None, Some(7010)]);
    assert!(leaf.has_table() && leaf.present() == 6);
    (0..3).for_each(|_| leaf.release());
    leaf.doubt(range(1024, 2));
    leaf.forget(range(1026, 510));
    assert_eq!((leaf.present(), leaf.stale(), leaf.is_unused()), (2, 2, false));
    leaf.forget(range(1024, 2));
    assert!(leaf.is_unused());
}

/// A node of the kernel's search tree has a key and three words besides, and comes from a cache of 192 bytes.
#[test]
fn a_leaf_is_small() {
    assert!(size_of::<Leaf<Box<Frames>>>() + 4 * size_of::<usize>() <= 192);
}

/// What happens to one domain.
#[derive(Clone, Copy, Debug)]
struct Step {
    domain: usize,
    what: u8,
    first: u64,
    count: u64,
    frame: u64,
    pause: u64,
    failure: Option<(u32, u64)>,
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![3 => Just(None), 1 => (0u32..3, 0u64..600).prop_map(Some)];
    (0usize..16, 0u8..4, 0u64..3000, 1u64..1500, 0u64..4, 1u64..700, failure).prop_map(
        |(domain, what, first, count, frame, pause, failure)| Step {
            domain,
            what,
            first,
            count,
            frame: frame << 20,
            pause,
            failure,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Sixteen domains: ranges are mapped where nothing is, in small and large pages, and unmapped in any pieces, while
    /// the hypervisor pauses, lacks memory and fails. After each step the record says what the hypervisor has, page by
    /// page; a failure leaves exactly what was done, which the caller undoes.
    #[test]
    fn the_record_is_what_the_hypervisor_has(steps in prop::collection::vec(step(), 1..80), gift in 1u64..4) {
        let models: Vec<Model> = (0..16).map(|_| Model::new(1, gift)).collect();
        let mut records: Vec<Record> = (0..16).map(|_| Record::default()).collect();
        for Step { domain, what, first, count, frame, pause, failure } in steps {
            let (model, record) = (&models[domain], &mut records[domain]);
            model.pause.set(pause);
            model.fails_in.set(failure);
            if what < 2 {
                let unit = if what == 0 { Unit::Small } else { Unit::Large };
                let first = first - first % unit.pages();
                let count = count.next_multiple_of(unit.pages());
                let frame = frame + first;
                let wanted = range(first, count);
                let free = model.pages.borrow().range(first..first + count).next().is_none();
                if !free {
                    continue;
                }
                let outcome = record.map(model, wanted, frame, unit);
                let done = model.pages.borrow().range(first..first + count).count() as u64;
                prop_assert_eq!(outcome.pages, done);
                if outcome.result.is_err() && done > 0 {
                    // As the IOMMU core does.
                    model.fails_in.set(None);
                    prop_assert!(record.unmap(model, range(first, done), unit).result.is_ok());
                    prop_assert!(model.pages.borrow().range(first..first + count).next().is_none());
                }
            } else {
                // What is mapped from the first page on without a gap, or some of it.
                let pages = model.pages.borrow();
                let Some(first) = pages.range(first..).next().map(|(page, _)| *page) else { continue };
                let mapped = (0..count).take_while(|offset| pages.contains_key(&(first + offset))).count() as u64;
                drop(pages);
                let before = model.pages.borrow().len() as u64;
                let outcome = record.unmap(model, range(first, mapped), Unit::Small);
                prop_assert_eq!(before - model.pages.borrow().len() as u64, outcome.pages);
                prop_assert!(outcome.result.is_ok() == (outcome.pages == mapped) || outcome.result.is_err());
            }
            prop_assert_eq!(record.pages(), model.pages.borrow().clone());
        }
        for (record, model) in records.iter().zip(&models) {
            prop_assert!(model.pages.borrow().is_empty() <= record.0.is_empty());
        }
    }
}
