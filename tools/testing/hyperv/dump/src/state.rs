// SPDX-License-Identifier: GPL-2.0
//! What the driver knew.

use std::fmt;

use anyhow::{bail, ensure, Context as _, Error, Result};

use crate::guide::{Capabilities, Guide};
use crate::memory::{Address, Memory};
use crate::source::Source;

/// Pages of 4 KiB in a leaf.
pub const LEAF_PAGES: u64 = 512;
const LEAF_WORDS: usize = LEAF_PAGES as usize / 64;
/// The highest number of a leaf: addresses have 64 bits.
const LEAF_LAST: u64 = u64::MAX >> 21;
/// More requesters than there can be: a PCI segment has 65536, and there are 65536 segments at most.
const REQUESTERS_MAX: u64 = 1 << 32;

/// A domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainName(pub u32);

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("identity"),
            u32::MAX => f.write_str("blocking"),
            number => write!(f, "{number}"),
        }
    }
}

/// Whether a domain takes devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    /// It does.
    Open,
    /// The hypervisor may let devices in it reach what they should not: it takes none.
    Closed,
    /// The kernel has done with it, the hypervisor perhaps not.
    Retired,
}

/// Pages of a domain that follow each other, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Address of the first page, in bytes.
    pub iova: u64,
    /// How many there are.
    pub pages: u64,
    /// The memory behind them, in bytes; [`None`] for pages that are not mapped as far as the driver knew.
    pub memory: Option<u64>,
    /// Whether nobody knows what the hypervisor has there.
    pub stale: bool,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number.
    pub name: DomainName,
    /// Whether it takes devices.
    pub state: DomainState,
    /// Pages that are mapped.
    pub present: u64,
    /// Pages of which nobody knows.
    pub stale: u64,
    /// Leaves.
    pub leaves: u64,
    /// Leaves with a table.
    pub tables: u64,
    /// Calls that mapped.
    pub maps: u64,
    /// Calls that unmapped.
    pub unmaps: u64,
    /// Deposits.
    pub deposits: u64,
    /// Failures.
    pub failures: u64,
    /// What is mapped, in the order of addresses.
    pub runs: Vec<Run>,
}

/// Where a requester is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it was found.
    Initial,
    /// In a domain.
    In(DomainName),
    /// In none.
    Detached,
    /// The hypervisor does not know it.
    Gone,
}

/// Where a requester may be besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nowhere.
    None,
    /// In a domain.
    In(DomainName),
    /// Anywhere.
    Anywhere,
}

/// A requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The hypervisor's name for it.
    pub id: u64,
    /// How many devices have it.
    pub users: u32,
    /// Where it is.
    pub place: Place,
    /// Where it may be besides.
    pub doubt: Doubt,
}

/// What the driver knew.
#[derive(Debug)]
pub struct State {
    /// What the IOMMU can do.
    pub capabilities: Capabilities,
    /// Every domain, by number.
    pub domains: Vec<Domain>,
    /// Every requester.
    pub requesters: Vec<Requester>,
    /// What could not be read. All else is as it was when the kernel crashed, perhaps in the middle of a change.
    pub damage: Vec<Error>,
}

/// Makes runs of single pages.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn add(&mut self, page: u64, memory: Option<u64>, stale: bool) {
        let iova = page << 12;
        if let Some(last) = self.0.last_mut() {
            let done = last.pages << 12;
            let follows = last.iova.wrapping_add(done) == iova && last.stale == stale;
            if follows && last.memory.map(|first| first.wrapping_add(done)) == memory {
                last.pages += 1;
                return;
            }
        }
        self.0.push(Run { iova, pages: 1, memory, stale });
    }
}

struct Reader<'a, S: Source + ?Sized> {
    memory: &'a Memory<'a, S>,
    guide: Guide,
    damage: Vec<Error>,
}

/// Reads what the driver knew.
///
/// # Errors
/// When the dump has no guide. What is damaged besides is told by [`State::damage`].
pub fn read<S: Source + ?Sized>(memory: &Memory<'_, S>) -> Result<State> {
    Ok(read_by(memory, Guide::find(memory)?))
}

/// The same by a guide that was found.
pub fn read_by<S: Source + ?Sized>(memory: &Memory<'_, S>, guide: Guide) -> State {
    let mut reader = Reader { memory, guide, damage: Vec::new() };
    let domains = reader.domains();
    let requesters = reader.requesters();
    State { capabilities: guide.capabilities, domains, requesters, damage: reader.damage }
}

impl<S: Source + ?Sized> Reader<'_, S> {
    fn domains(&mut self) -> Vec<Domain> {
        let (memory, guide) = (self.memory, self.guide);
        let (mut found, mut damage) = (Vec::new(), Vec::new());
        let walked = guide.domain_node.walk(memory, guide.domains, |node| {
            let record = memory.u64(node.value).map(|leads| Address(leads).plus(guide.record_offset));
            match record.and_then(|record| self.domain(record, &mut damage)) {
                Ok(domain) => found.push(domain),
                Err(error) => damage.push(error.context("a domain")),
            }
            Ok(())
        });
        if let Err(error) = walked {
            damage.push(error.context("the tree of domains"));
        }
        self.damage.append(&mut damage);
        found
    }

    fn domain(&self, record: Address, damage: &mut Vec<Error>) -> Result<Domain> {
        let (memory, shape) = (self.memory, self.guide.record);
        let number = |offset| memory.u64(record.plus(offset));
        let state = if memory.flag(record.plus(shape.retired))? {
            DomainState::Retired
        } else if memory.flag(record.plus(shape.closed))? {
            DomainState::Closed
        } else {
            DomainState::Open
        };
        let mut domain = Domain {
            name: DomainName(memory.u32(record.plus(shape.name))?),
            state,
            present: 0,
            stale: 0,
            leaves: 0,
            tables: 0,
            maps: number(shape.maps)?,
            unmaps: number(shape.unmaps)?,
            deposits: number(shape.deposits)?,
            failures: number(shape.failures)?,
            runs: Vec::new(),
        };
        let mut runs = Runs::default();
        let walked = self.guide.leaf_node.walk(memory, record.plus(shape.leaves), |node| {
            self.leaf(memory.u64(node.key)?, node.value, &mut domain, &mut runs)
        });
        if let Err(error) = walked {
            damage.push(error.context(format!("mappings of domain {}", domain.name)));
        }
        domain.runs = runs.0;
        Ok(domain)
    }

    fn leaf(&self, number: u64, leaf: Address, domain: &mut Domain, runs: &mut Runs) -> Result<()> {
        let (memory, shape) = (self.memory, self.guide.leaf);
        ensure!(number <= LEAF_LAST, "leaf {number:#x} is behind all addresses");
        let kind = memory.u64(leaf.plus(shape.memory))?;
        let what = memory.u64(leaf.plus(shape.memory).plus(8))?;
        ensure!(kind <= 1, "leaf {number:#x} has memory of kind {kind}");
        let bits = |offset: u64| -> Result<[u64; LEAF_WORDS]> {
            let mut words = [0; LEAF_WORDS];
            for (word, place) in words.iter_mut().zip((0..).step_by(8)) {
                *word = memory.u64(leaf.plus(offset).plus(place))?;
            }
            Ok(words)
        };
        let (present, stale) = (bits(shape.present)?, bits(shape.stale)?);
        domain.leaves += 1;
        domain.tables += kind;
        for page in 0..LEAF_PAGES {
            let has = |words: &[u64; LEAF_WORDS]| words[page as usize / 64] >> (page % 64) & 1 != 0;
            let (is_present, is_stale) = (has(&present), has(&stale));
            if !is_present && !is_stale {
                continue;
            }
            let own = number * LEAF_PAGES + page;
            let frame = match (is_present, kind) {
                (false, _) => None,
                (true, 0) => Some(own.wrapping_add(what)),
                (true, _) => Some(memory.u64(Address(what).plus(8 * page))?),
            };
            domain.present += u64::from(is_present);
            domain.stale += u64::from(is_stale);
            runs.add(own, frame.map(|frame| frame << 12), is_stale);
        }
        Ok(())
    }

    fn requesters(&mut self) -> Vec<Requester> {
        let mut found = Vec::new();
        let result = self.guide.list.read(self.memory, self.guide.requesters).and_then(|(first, count)| {
            ensure!(count <= REQUESTERS_MAX, "there are {count}");
            for index in 0..count {
                found.push(self.requester(first.plus(index * self.guide.requester.bytes))?);
            }
            Ok(())
        });
        if let Err(error) = result {
            self.damage.push(error.context("the requesters"));
        }
        found
    }

    fn requester(&self, at: Address) -> Result<Requester> {
        let (memory, shape) = (self.memory, self.guide.requester);
        let name = |offset: u64| memory.u32(at.plus(offset).plus(4)).map(DomainName);
        let place = match memory.u32(at.plus(shape.place)).context("its place")? {
            0 => Place::Initial,
            1 => Place::In(name(shape.place)?),
            2 => Place::Detached,
            3 => Place::Gone,
            other => bail!("place {other}"),
        };
        let doubt = match memory.u32(at.plus(shape.doubt)).context("its doubt")? {
            0 => Doubt::None,
            1 => Doubt::In(name(shape.doubt)?),
            2 => Doubt::Anywhere,
            other => bail!("doubt {other}"),
        };
        let (id, users) = (memory.u64(at.plus(shape.id))?, memory.u32(at.plus(shape.users))?);
        Ok(Requester { id, users, place, doubt })
    }
}
