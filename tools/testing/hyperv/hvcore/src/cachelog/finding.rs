// SPDX-License-Identifier: GPL-2.0
//! What the log holds against the guest.

use core::fmt;

use super::entry::Place;
use super::ranges::IovaRange;
use crate::ids::{DomainId, Gpa};

/// Something that a cache could make visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which domain.
    pub domain: DomainId,
    /// What.
    pub fault: Fault,
}

/// What was done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An address was mapped while its previous translation may still be cached.
    MappedAgain(IovaRange),
    /// A page that was a table was written while an entry that points at it may still be cached.
    TableReused {
        /// The page.
        page: Gpa,
        /// Where it was.
        place: Place,
        /// Where the guest's code was.
        rip: u64,
    },
    /// A table in use was written, but not by storing an entry: its page serves another purpose.
    TableOverwritten {
        /// The page.
        page: Gpa,
        /// Where it is.
        place: Place,
        /// Where the guest's code was.
        rip: u64,
    },
    /// A page became a table, but is one already, or may still be taken for one by a cache.
    TableShared {
        /// The page.
        page: Gpa,
        /// The domain that has it.
        owner: DomainId,
    },
    /// A device entered the domain, which had none, while translations may be cached that it no longer has.
    AttachedStale {
        /// How many pages.
        pages: u64,
        /// The first of them.
        first: IovaRange,
    },
    /// A call that is to leave nothing behind returned while translations may be cached that the domain no longer has.
    ReturnedStale {
        /// How many pages.
        pages: u64,
        /// The first of them.
        first: IovaRange,
    },
    /// The domain was deleted while translations may still be cached that it no longer has.
    DeletedStale {
        /// How many pages.
        pages: u64,
        /// The first of them.
        first: IovaRange,
    },
    /// The domain was deleted while entries that point at its tables may still be cached: nothing flushed it since its
    /// last device left.
    DeletedCached {
        /// How many tables.
        tables: usize,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cache: domain {}: ", self.domain.0)?;
        match self.fault {
            Fault::MappedAgain(range) => write!(f, "{range} mapped again before a flush covered it"),
            Fault::TableReused { page: Gpa(page), place, rip } => {
                let (range, level) = (place.range(), place.level.number());
                write!(f, "{range}: page {page:#x}, its table of level {level}, reused before a flush, rip {rip:#x}")
            }
            Fault::TableOverwritten { page: Gpa(page), place, rip } => {
                let (range, level) = (place.range(), place.level.number());
                write!(f, "{range}: page {page:#x}, its table of level {level}, overwritten in use, rip {rip:#x}")
            }
            Fault::TableShared { page: Gpa(page), owner } => {
                write!(f, "page {page:#x} made a table, but it is one of domain {} still", owner.0)
            }
            Fault::AttachedStale { pages, first } => {
                write!(f, "{first}: a device attached with {pages} pages unmapped and not flushed")
            }
            Fault::ReturnedStale { pages, first } => {
                write!(f, "{first}: a call returned with {pages} pages unmapped and not flushed")
            }
            Fault::DeletedStale { pages, first } => {
                write!(f, "{first}: deleted with {pages} pages unmapped and not flushed")
            }
            Fault::DeletedCached { tables } => {
                write!(f, "deleted with {tables} tables, not flushed since its last device left")
            }
        }
    }
}
