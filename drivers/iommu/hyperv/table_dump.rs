// SPDX-License-Identifier: GPL-2.0

//! From a page table in memory to lines that people read.
//!
//! The table may change while it is read, and its memory may go: entries are read one by one, each
//! read may fail, and what is read is believed only as far as it makes sense.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::{
    aperture::Levels,
    translation::Table, //
};
use core::str::FromStr;

/// Most lines of a dump, the last one that says that it was cut not counted.
pub(crate) const MAX_LINES: usize = 4096;
/// Most tables that a dump reads: 8 GiB of 4 KiB pages.
pub(crate) const MAX_TABLES: usize = 4096;

/// Bits of an entry.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// At the two levels above the lowest: no table follows.
const LEAF: u64 = 1 << 7;
/// What an entry points to.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// log2 of the bytes that an entry of the lowest level maps.
const PAGE_SHIFT: u32 = 12;
/// log2 of the entries of a table.
const INDEX_BITS: u32 = 9;
/// Bytes of an entry.
const ENTRY_BYTES: u64 = 8;
/// Widest IOVA of any table, in bits.
const MAX_WIDTH: u32 = PAGE_SHIFT + 5 * INDEX_BITS;

/// Which part of which domain is to be dumped: as text, the domain's number, the first and the last
/// IOVA, each decimal or, with 0x, hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) domain: u32,
    pub(crate) first: u64,
    /// Not below `first`; may lie outside the table.
    pub(crate) last: u64,
}

/// The text is not a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl FromStr for Selection {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Selection, Malformed> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().and_then(number).ok_or(Malformed);
        let (domain, first, last) = (next()?, next()?, next()?);
        let domain = u32::try_from(domain).map_err(|_| Malformed)?;
        // 0 is `HV_DEVICE_DOMAIN_ID_DEFAULT`, which has no table.
        if words.next().is_some() || domain == 0 || last < first || first >> MAX_WIDTH != 0 {
            return Err(Malformed);
        }
        Ok(Selection {
            domain,
            first,
            last,
        })
    }
}

fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    // `from_str_radix` would take a sign, too.
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// What a device may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// Pages that follow one another, both as the device and as memory sees them, and are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first IOVA.
    pub(crate) first: u64,
    /// The last IOVA.
    pub(crate) last: u64,
    /// The physical address that `first` becomes.
    pub(crate) physical: u64,
    /// Bytes of each page.
    pub(crate) page: u64,
    pub(crate) access: Access,
}

impl Run {
    /// Takes in the pages of `next` if they are the continuation.
    fn extend(&mut self, next: &Run) -> bool {
        // Neither wraps: IOVAs are below 2^57, physical addresses below 2^52.
        let length = self.last - self.first + 1;
        let continues = next.first == self.last + 1
            && next.physical == self.physical + length
            && next.page == self.page
            && next.access == self.access;
        if continues {
            self.last = next.last;
        }
        continues
    }
}

/// A line of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Pages are mapped.
    Mapped(Run),
    /// What is mapped from `first` on, up to `last`, is not known: the table at `table` cannot be
    /// read.
    Unreadable { first: u64, last: u64, table: u64 },
    /// The entry for `first..=last` makes no sense.
    Nonsense { first: u64, last: u64, entry: u64 },
    /// There may be more, from this IOVA on: the dump is long enough.
    Cut { next: u64 },
}

impl Line {
    /// The first IOVA that the line is about.
    fn first(&self) -> u64 {
        match *self {
            Line::Mapped(run) => run.first,
            Line::Unreadable { first, .. } | Line::Nonsense { first, .. } => first,
            Line::Cut { next } => next,
        }
    }
}

/// What an entry says.
enum Entry {
    Empty,
    /// A table at this address follows.
    Table(u64),
    Page {
        physical: u64,
        access: Access,
    },
    Nonsense,
}

/// log2 of the bytes that an entry of a level maps; level 0 is the lowest.
fn shift(level: u32) -> u32 {
    PAGE_SHIFT + level * INDEX_BITS
}

/// What an entry of a level says.
fn decode(entry: u64, level: u32) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::Empty;
    }
    let address = entry & ADDRESS;
    let is_page = match level {
        0 => true,
        1 | 2 => entry & LEAF != 0,
        _ if entry & LEAF != 0 => return Entry::Nonsense,
        _ => false,
    };
    if !is_page {
        return Entry::Table(address);
    }
    if address & ((1 << shift(level)) - 1) != 0 {
        return Entry::Nonsense;
    }
    Entry::Page {
        physical: address,
        access: if entry & WRITABLE != 0 {
            Access::ReadWrite
        } else {
            Access::Read
        },
    }
}

/// Why a dump ends before its range does.
enum Stop<E> {
    /// It is long enough; the rest starts here.
    Full(u64),
    /// A line could not be written.
    Failed(E),
}

/// Dumps what `table` maps between `first` and `last`, in ascending order, whole pages.
///
/// `read` returns the 8 bytes at a physical address, if it can.
pub(crate) fn dump<E>(
    table: Table,
    first: u64,
    last: u64,
    read: impl FnMut(u64) -> Option<u64>,
    emit: impl FnMut(&Line) -> Result<(), E>,
) -> Result<(), E> {
    let top = match table.levels {
        Levels::Four => 3,
        Levels::Five => 4,
    };
    let last = last.min((1 << shift(top + 1)) - 1);
    if last < first {
        return Ok(());
    }
    let mut walk = Walk {
        read,
        emit,
        first,
        last,
        pending: None,
        lines: 0,
        tables: 0,
    };
    let walked = walk.table(table.root, top, 0);
    let walked = match walked {
        Err(Stop::Failed(_)) => walked,
        // What was found before goes first; it may be what is too much.
        _ => walk.settle().and(walked),
    };
    match walked {
        Ok(()) => Ok(()),
        Err(Stop::Full(next)) => (walk.emit)(&Line::Cut { next }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// A dump under way.
struct Walk<R, W> {
    read: R,
    emit: W,
    first: u64,
    last: u64,
    /// Not emitted yet: it may grow.
    pending: Option<Run>,
    /// How many lines were emitted.
    lines: usize,
    /// How many tables were looked at.
    tables: usize,
}

impl<E, R, W> Walk<R, W>
where
    R: FnMut(u64) -> Option<u64>,
    W: FnMut(&Line) -> Result<(), E>,
{
    /// Walks a table for the IOVAs from `base` on; some of them are asked for.
    fn table(&mut self, table: u64, level: u32, base: u64) -> Result<(), Stop<E>> {
        let shift = shift(level);
        let first = self.first.max(base);
        let last = self.last.min(base + ((1 << (shift + INDEX_BITS)) - 1));
        if self.tables == MAX_TABLES {
            return Err(Stop::Full(first));
        }
        self.tables += 1;

        for index in (first - base) >> shift..=(last - base) >> shift {
            let first = base + (index << shift);
            let page = 1 << shift;
            let entry_last = first + (page - 1);
            let Some(entry) = (self.read)(table + index * ENTRY_BYTES) else {
                // The rest of it is no better.
                return self.line(Line::Unreadable { first, last, table });
            };
            match decode(entry, level) {
                Entry::Empty => {}
                Entry::Table(address) => self.table(address, level - 1, first)?,
                Entry::Page { physical, access } => self.page(Run {
                    first,
                    last: entry_last,
                    physical,
                    page,
                    access,
                })?,
                Entry::Nonsense => self.line(Line::Nonsense {
                    first,
                    last: entry_last,
                    entry,
                })?,
            }
        }
        Ok(())
    }

    /// A page was found.
    fn page(&mut self, page: Run) -> Result<(), Stop<E>> {
        if self.pending.as_mut().is_some_and(|run| run.extend(&page)) {
            return Ok(());
        }
        self.settle()?;
        self.pending = Some(page);
        Ok(())
    }

    /// Emits what was found before, then this.
    fn line(&mut self, line: Line) -> Result<(), Stop<E>> {
        self.settle()?;
        self.put(line)
    }

    /// Emits the pages that were found and not emitted.
    fn settle(&mut self) -> Result<(), Stop<E>> {
        match self.pending.take() {
            Some(run) => self.put(Line::Mapped(run)),
            None => Ok(()),
        }
    }

    fn put(&mut self, line: Line) -> Result<(), Stop<E>> {
        if self.lines == MAX_LINES {
            return Err(Stop::Full(line.first()));
        }
        self.lines += 1;
        (self.emit)(&line).map_err(Stop::Failed)
    }
}
