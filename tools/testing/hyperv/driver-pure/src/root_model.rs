// SPDX-License-Identifier: GPL-2.0
//! A slow model of the hypervisor, which pauses, lacks memory and fails; and the driver's record of what it has.

use crate::root::leaf::{Claim, Frames, Leaf};
use crate::root::page_range::{PageRange, Unit, LARGE_PAGES, PAGE_SHIFT};
use crate::root::transfer::{self, CallResult, Hypervisor};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Memory is wanted.
    Memory,
    /// Memory that is contiguous is wanted.
    Block,
    /// The call makes no sense.
    Nonsense,
    /// So it was decided.
    Injected,
}

/// What memory is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pages,
    Block,
}

/// One domain of the hypervisor, page by page.
#[derive(Default)]
pub struct Model {
    pub pages: RefCell<BTreeMap<u64, u64>>,
    /// Large pages that were not split.
    pub large: RefCell<BTreeSet<u64>>,
    /// Tables, by the 2 MiB that they are for.
    pub tables: RefCell<BTreeSet<u64>>,
    /// Pages of memory that are left.
    pub memory: Cell<u64>,
    /// Pages that one deposit gives.
    pub gift: Cell<u64>,
    pub deposits: Cell<u32>,
    /// Deposits of blocks among them.
    pub blocks: Cell<u32>,
    /// Calls that want a block first.
    pub wants_blocks: Cell<u32>,
    /// Operations that a call does before it pauses.
    pub pause: Cell<u64>,
    /// Calls until one fails, with so many operations done.
    pub fails_in: Cell<Option<(u32, u64)>>,
    pub calls: Cell<u32>,
    /// Deposits until one is refused.
    pub refuses_in: Cell<Option<u32>>,
}

impl Model {
    pub fn new(memory: u64, gift: u64) -> Model {
        let model = Model::default();
        model.memory.set(memory);
        model.gift.set(gift);
        model.pause.set(u64::MAX);
        model
    }

    fn take(&self) -> Result<(), Failure> {
        let left = self.memory.get().checked_sub(1).ok_or(Failure::Memory)?;
        self.memory.set(left);
        Ok(())
    }

    fn table_for(&self, page: u64) -> Result<(), Failure> {
        if self.tables.borrow().contains(&(page / LARGE_PAGES)) {
            return Ok(());
        }
        self.take()?;
        self.tables.borrow_mut().insert(page / LARGE_PAGES);
        Ok(())
    }

    fn map_one(&self, page: u64, frame: u64, unit: Unit) -> Result<(), Failure> {
        let mut pages = self.pages.borrow_mut();
        let range = page..page + unit.pages();
        if page % unit.pages() != 0 || frame % unit.pages() != 0 || pages.range(range.clone()).next().is_some() {
            return Err(Failure::Nonsense);
        }
        match unit {
            Unit::Small => self.table_for(page)?,
            Unit::Large => {
                self.large.borrow_mut().insert(page);
            }
        }
        pages.extend(range.zip(frame..));
        Ok(())
    }

    fn unmap_some(&self, page: u64, most: u64) -> Result<u64, Failure> {
        let base = page - page % LARGE_PAGES;
        if !self.pages.borrow().contains_key(&page) {
            return Err(Failure::Nonsense);
        }
        if self.large.borrow().contains(&base) {
            if page == base && most >= LARGE_PAGES {
                self.large.borrow_mut().remove(&base);
                self.pages.borrow_mut().retain(|at, _| at / LARGE_PAGES != base / LARGE_PAGES);
                return Ok(LARGE_PAGES);
            }
            self.table_for(page)?;
            self.large.borrow_mut().remove(&base);
        }
        self.pages.borrow_mut().remove(&page);
        Ok(1)
    }

    /// Does up to `count` operations by `step`, which is told how many are done and how many may be.
    fn carry_out(&self, count: u64, mut step: impl FnMut(u64, u64) -> Result<u64, Failure>) -> CallResult<Failure> {
        assert!(count > 0);
        self.calls.set(self.calls.get() + 1);
        let (mut most, mut end) = (count.min(self.pause.get().max(1)), Ok(()));
        if let Some((calls, done)) = self.fails_in.get() {
            match calls {
                0 => {
                    self.fails_in.set(None);
                    (most, end) = (count.min(done), Err(Failure::Injected));
                }
                _ => self.fails_in.set(Some((calls - 1, done))),
            }
        }
        if let Some(left) = self.wants_blocks.get().checked_sub(1) {
            self.wants_blocks.set(left);
            (most, end) = (0, Err(Failure::Block));
        }
        let mut done = 0;
        while done < most {
            match step(done, most - done) {
                Ok(some) => done += some,
                Err(failure) => return CallResult { done, result: Err(failure) },
            }
        }
        CallResult { done, result: end }
    }
}

impl Hypervisor for Model {
    type Failure = Failure;
    type Memory = Kind;
    type DepositError = ();

    const MAP_MAX: u64 = 507;
    const UNMAP_MAX: u64 = 4095;

    fn map(&self, first: u64, frame: u64, unit: Unit, units: u64) -> CallResult<Failure> {
        assert!(units <= Self::MAP_MAX);
        self.carry_out(units, |done, _| {
            let pages = done * unit.pages();
            self.map_one(first + pages, frame + pages, unit).map(|()| 1)
        })
    }

    fn unmap(&self, first: u64, pages: u64) -> CallResult<Failure> {
        assert!(pages <= Self::UNMAP_MAX);
        self.carry_out(pages, |done, most| self.unmap_some(first + done, most))
    }

    fn wanted_memory(failure: Failure) -> Option<Kind> {
        match failure {
            Failure::Memory => Some(Kind::Pages),
            Failure::Block => Some(Kind::Block),
            Failure::Nonsense | Failure::Injected => None,
        }
    }

    fn deposit(&self, wanted: Kind) -> Result<(), ()> {
        self.blocks.set(self.blocks.get() + u32::from(wanted == Kind::Block));
        self.deposits.set(self.deposits.get() + 1);
        assert!(self.deposits.get() < 100_000, "there is no end of it");
        if let Some(deposits) = self.refuses_in.get() {
            self.refuses_in.set(deposits.checked_sub(1));
            if deposits == 0 {
                return Err(());
            }
        }
        self.memory.set(self.memory.get() + self.gift.get());
        Ok(())
    }
}

/// The driver's record, as `mappings.rs` keeps it. That file is made of the kernel's tree, lock and allocator, and cannot be
/// built without them: here a map of the same leaves takes its place.
#[derive(Default)]
pub struct Record(pub BTreeMap<u64, Leaf<Box<Frames>>>);

impl Record {
    fn claim(&mut self, range: PageRange, frame: u64) {
        for part in range.by_large_page() {
            let (number, page) = (part.first() / LARGE_PAGES, part.first());
            let frame = frame + (page - range.first());
            match self.0.get_mut(&number) {
                None => {
                    self.0.insert(number, Leaf::claimed(page, frame));
                }
                Some(leaf) => {
                    if leaf.claim(page, frame) == Claim::NeedsTable {
                        leaf.use_table(number, Box::new([0; 512]));
                        assert_eq!(leaf.claim(page, frame), Claim::Granted);
                    }
                }
            }
        }
    }

    fn change(&mut self, range: PageRange, mut f: impl FnMut(&mut Leaf<Box<Frames>>, PageRange)) {
        for part in range.by_large_page() {
            let number = part.first() / LARGE_PAGES;
            let leaf = self.0.get_mut(&number).unwrap();
            f(leaf, part);
            if leaf.is_unused() {
                self.0.remove(&number);
            }
        }
    }

    pub fn find(&self, page: u64) -> Option<u64> {
        self.0.get(&(page / LARGE_PAGES))?.find(page)
    }

    pub fn pages(&self) -> BTreeMap<u64, u64> {
        let leaves = self.0.keys().flat_map(|number| number * LARGE_PAGES..(number + 1) * LARGE_PAGES);
        leaves.filter_map(|page| Some((page, self.find(page)?))).collect()
    }

    pub fn map(&mut self, model: &Model, range: PageRange, frame: u64, unit: Unit) -> transfer::Outcome<Model> {
        self.claim(range, frame);
        let outcome = transfer::map(model, range, frame, unit, |part, frame| {
            self.change(part, |leaf, within| leaf.note(within, frame + (within.first() - part.first())));
        });
        self.change(range, |leaf, _| leaf.release());
        outcome
    }

    /// What the driver notes of pages that could not be unmapped.
    pub fn doubt(&mut self, range: PageRange) {
        self.change(range, Leaf::doubt);
    }

    /// Pages of which nobody knows whether they are mapped.
    pub fn stale(&self) -> u64 {
        self.0.values().map(Leaf::stale).sum()
    }

    pub fn unmap(&mut self, model: &Model, range: PageRange, unit: Unit) -> transfer::Outcome<Model> {
        transfer::unmap(model, range, unit, |part| self.change(part, Leaf::forget))
    }
}

pub fn range(first: u64, count: u64) -> PageRange {
    PageRange::of_bytes(first << PAGE_SHIFT, count << PAGE_SHIFT).unwrap()
}
