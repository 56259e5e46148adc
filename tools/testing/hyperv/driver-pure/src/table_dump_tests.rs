// SPDX-License-Identifier: GPL-2.0
//! Dumps: all that is mapped, nothing else, whatever lies in memory, and never too long.

use crate::aperture::Levels;
use crate::table_dump::{dump, Access, Line, Malformed, Run, Selection, MAX_LINES, MAX_TABLES};
use crate::translation::Table;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

const PAGE: u64 = 0x1000;
const ROOT: u64 = 0x10_0000;
/// Ordinary bits that a dump has to look past: user, accessed, dirty.
const NOISE: u64 = 0x64;

/// Memory with tables in it.
struct Memory {
    words: HashMap<u64, u64>,
    next: u64,
    levels: Levels,
}

/// Levels above the lowest.
fn top(levels: Levels) -> u32 {
    match levels {
        Levels::Four => 3,
        Levels::Five => 4,
    }
}

/// log2 of the bytes that an entry of a level maps.
fn shift(level: u32) -> u32 {
    12 + 9 * level
}

impl Memory {
    fn new(levels: Levels) -> Memory {
        Memory { words: HashMap::new(), next: ROOT + PAGE, levels }
    }

    /// The address of the entry for `iova` in the table of a level, made if it is not there.
    fn entry(&mut self, iova: u64, level: u32) -> u64 {
        let mut table = ROOT;
        let mut at = top(self.levels);
        loop {
            let entry = table + (iova >> shift(at) & 0x1ff) * 8;
            if at == level {
                return entry;
            }
            let next = &mut self.next;
            let word = self.words.entry(entry).or_insert_with(|| {
                let table = *next;
                *next += PAGE;
                table | NOISE | 3
            });
            table = *word & 0xf_ffff_ffff_f000;
            at -= 1;
        }
    }

    fn map(&mut self, iova: u64, physical: u64, level: u32, access: Access) {
        let entry = self.entry(iova, level);
        let leaf = if level == 0 { 0 } else { 0x80 };
        let write = if access == Access::ReadWrite { 2 } else { 0 };
        self.words.insert(entry, physical | NOISE | leaf | write | 1);
    }

    fn dump_with(&self, first: u64, last: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Vec<Line> {
        let mut lines = Vec::new();
        let table = Table { root: ROOT, levels: self.levels };
        let Ok(()) = dump(table, first, last, &mut read, |line| {
            lines.push(*line);
            Ok::<(), Infallible>(())
        });
        lines
    }

    /// The lines for a range of what is all readable.
    fn dump(&self, first: u64, last: u64) -> Vec<Line> {
        self.dump_with(first, last, |address| Some(self.words.get(&address).copied().unwrap_or(0)))
    }
}

fn run(first: u64, last: u64, physical: u64, page: u64, access: Access) -> Line {
    Line::Mapped(Run { first, last, physical, page, access })
}

/// Every page of the lines: IOVA to physical address, size, access.
fn pages(lines: &[Line]) -> BTreeMap<u64, (u64, u64, Access)> {
    let mut pages = BTreeMap::new();
    for line in lines {
        let Line::Mapped(run) = line else { panic!("{line:x?}") };
        for offset in (0..=run.last - run.first).step_by(run.page.try_into().unwrap()) {
            let old = pages.insert(run.first + offset, (run.physical + offset, run.page, run.access));
            assert_eq!(old, None, "{:#x} is shown twice", run.first + offset);
        }
    }
    pages
}

#[test]
fn an_empty_table_has_no_lines() {
    for levels in [Levels::Four, Levels::Five] {
        assert_eq!(Memory::new(levels).dump(0, u64::MAX), []);
    }
}

#[test]
fn neighbours_are_one_line_when_they_are_alike() {
    let mut memory = Memory::new(Levels::Four);
    for page in 0..3 {
        memory.map(0x1f_f000 + page * PAGE, 0x5000_0000 + page * PAGE, 0, Access::ReadWrite);
    }
    memory.map(0x20_2000, 0x5000_3000, 0, Access::Read);
    memory.map(0x20_3000, 0x6000_0000, 0, Access::Read);
    memory.map(0x20_5000, 0x6000_1000, 0, Access::Read);
    memory.map(0x40_0000, 0x8000_0000, 1, Access::ReadWrite);
    memory.map(0x60_0000, 0x8020_0000, 1, Access::ReadWrite);
    memory.map(0x80_0000, 0x8040_0000, 0, Access::ReadWrite);
    memory.map(0x4000_0000, 0x1_0000_0000, 2, Access::Read);
    assert_eq!(
        memory.dump(0, u64::MAX),
        [
            run(0x1f_f000, 0x20_1fff, 0x5000_0000, PAGE, Access::ReadWrite),
            run(0x20_2000, 0x20_2fff, 0x5000_3000, PAGE, Access::Read),
            run(0x20_3000, 0x20_3fff, 0x6000_0000, PAGE, Access::Read),
            run(0x20_5000, 0x20_5fff, 0x6000_1000, PAGE, Access::Read),
            run(0x40_0000, 0x7f_ffff, 0x8000_0000, 0x20_0000, Access::ReadWrite),
            run(0x80_0000, 0x80_0fff, 0x8040_0000, PAGE, Access::ReadWrite),
            run(0x4000_0000, 0x7fff_ffff, 0x1_0000_0000, 0x4000_0000, Access::Read),
        ]
    );
}

#[test]
fn the_ends_of_the_address_space() {
    for (levels, last) in [(Levels::Four, (1u64 << 48) - 1), (Levels::Five, (1 << 57) - 1)] {
        let mut memory = Memory::new(levels);
        memory.map(0, 0x1000, 0, Access::Read);
        memory.map(last & !0xfff, 0x2000, 0, Access::Read);
        let ends = [run(0, 0xfff, 0x1000, PAGE, Access::Read), run(last & !0xfff, last, 0x2000, PAGE, Access::Read)];
        assert_eq!(memory.dump(0, u64::MAX), ends);
        assert_eq!(memory.dump(0, last), ends);
        assert_eq!(memory.dump(last, last), ends[1..]);
        assert_eq!(memory.dump(0xfff, 0x1000), ends[..1]);
        assert_eq!(memory.dump(last + 1, u64::MAX), []);
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut memory = Memory::new(Levels::Four);
    memory.map(0x1000, 0x9000, 0, Access::Read);
    memory.map(0x20_0000, 0xa000, 0, Access::Read);
    let lost = memory.entry(0x20_0000, 0) & !0xfff;
    let lines = memory.dump_with(0, 0x2f_ffff, |address| {
        (address & !0xfff != lost).then(|| memory.words.get(&address).copied().unwrap_or(0))
    });
    assert_eq!(
        lines,
        [
            run(0x1000, 0x1fff, 0x9000, PAGE, Access::Read),
            Line::Unreadable { first: 0x20_0000, last: 0x2f_ffff, table: lost },
        ]
    );
    let nothing = memory.dump_with(0x1000, u64::MAX, |_| None);
    assert_eq!(nothing, [Line::Unreadable { first: 0, last: (1 << 48) - 1, table: ROOT }]);
}

#[test]
fn what_makes_no_sense_is_said() {
    let mut memory = Memory::new(Levels::Five);
    for (level, entry) in [(4, 0x81), (3, 0x81), (2, 0x20_0081), (1, 0x1081)] {
        let iova = 1 << shift(level);
        let at = memory.entry(iova, level);
        memory.words.insert(at, entry);
        let last = iova + ((1 << shift(level)) - 1);
        assert_eq!(memory.dump(iova, iova), [Line::Nonsense { first: iova, last, entry }]);
    }
}

#[test]
fn a_long_dump_is_cut_and_can_be_resumed() {
    let mut memory = Memory::new(Levels::Four);
    let count = 2 * u64::try_from(MAX_LINES).unwrap() + 10;
    for page in 0..count {
        // Every other page, so that each is a line.
        memory.map(2 * page * PAGE, 0x1000_0000 + page * PAGE, 0, Access::ReadWrite);
    }
    let (mut next, mut all, mut dumps) = (0, Vec::new(), 0);
    loop {
        let mut lines = memory.dump(next, u64::MAX);
        dumps += 1;
        let cut = match lines.last() {
            Some(&Line::Cut { next }) => Some(next),
            _ => None,
        };
        lines.truncate(MAX_LINES);
        all.extend(lines);
        match cut {
            Some(rest) => next = rest,
            None => break,
        }
    }
    assert_eq!(dumps, 3);
    assert_eq!(all.len(), usize::try_from(count).unwrap());
    assert_eq!(pages(&all).len(), all.len());
}

#[test]
fn exactly_enough_lines_are_not_cut() {
    let mut memory = Memory::new(Levels::Four);
    for page in 0..u64::try_from(MAX_LINES).unwrap() {
        memory.map(2 * page * PAGE, 0x1000_0000, 0, Access::ReadWrite);
    }
    let lines = memory.dump(0, u64::MAX);
    assert_eq!(lines.len(), MAX_LINES);
    assert!(lines.iter().all(|line| matches!(line, Line::Mapped(_))));
}

#[test]
fn a_table_that_contains_itself_is_cut() {
    for levels in [Levels::Four, Levels::Five] {
        let mut reads = 0;
        let lines = Memory::new(levels).dump_with(0, u64::MAX, |_| {
            reads += 1;
            // Every table is the root, all entries alike; the lowest level maps one page for ever.
            Some(ROOT | 1)
        });
        assert!(reads <= MAX_TABLES * 512);
        let (cut, mapped) = lines.split_last().unwrap();
        assert!(matches!(cut, Line::Cut { .. }), "{cut:x?}");
        assert!(!mapped.is_empty() && mapped.len() <= MAX_LINES);
    }
}

#[test]
fn many_tables_of_one_run_are_cut_with_the_run_shown() {
    let levels = Levels::Four;
    // An upper entry says where its child is by the address itself: a table for each 2 MiB.
    let lines = Memory::new(levels).dump_with(0, u64::MAX, |address| {
        let (table, index) = (address & !0xfff, (address & 0xfff) / 8);
        Some(match table {
            ROOT => 0x1_0000_0000 | 1,
            0x1_0000_0000 => (0x2_0000_0000 + index * PAGE) | 1,
            0x2_0000_0000..0x3_0000_0000 => (0x1000_0000_0000 + (table - 0x2_0000_0000) * 512 + index * PAGE) | 1,
            _ => (0x2000_0000_0000 + ((table - 0x1000_0000_0000) << 9) + index * PAGE) | 3,
        })
    });
    let tables_above = 3 + u64::try_from(MAX_TABLES).unwrap() / 512;
    let pages = (u64::try_from(MAX_TABLES).unwrap() - tables_above) * 512;
    let [Line::Mapped(run), Line::Cut { next }] = lines[..] else { panic!("{lines:x?}") };
    assert_eq!((run.first, run.physical, run.page), (0, 0x2000_0000_0000, PAGE));
    assert!(run.last + 1 == next && next.abs_diff(pages * PAGE) <= 0x40_0000, "{run:x?} {next:#x}");
}

#[test]
fn a_line_that_cannot_be_written_ends_the_dump() {
    let mut memory = Memory::new(Levels::Four);
    for page in 0..8 {
        memory.map(page * 2 * PAGE, 0, 0, Access::Read);
    }
    let table = Table { root: ROOT, levels: Levels::Four };
    let read = |address| Some(memory.words.get(&address).copied().unwrap_or(0));
    let mut left = 3;
    let result = dump(table, 0, u64::MAX, read, |_| {
        left -= 1;
        if left == 0 {
            return Err("full");
        }
        Ok(())
    });
    assert_eq!((result, left), (Err("full"), 0));
}

#[test]
fn selections() {
    let some = |domain, first, last| Ok(Selection { domain, first, last });
    assert_eq!("3 0 0xfff".parse(), some(3, 0, 0xfff));
    assert_eq!(" 0x10\t4096 8191\n".parse(), some(16, 0x1000, 0x1fff));
    assert_eq!("1 0 0xffffffffffffffff".parse(), some(1, 0, u64::MAX));
    assert_eq!("1 0x1ffffffffffffff 0x1ffffffffffffff".parse(), some(1, (1 << 57) - 1, (1 << 57) - 1));
    for text in [
        "",
        "3",
        "3 0",
        "3 0 1 2",
        "0 0 1",
        "3 1 0",
        "3 0x200000000000000 0x200000000000000",
        "x 0 1",
        "3 -1 1",
        "3 +1 1",
        "3 0x+1 1",
        "3 0x 1",
        "4294967296 0 1",
        "3 0 0x10000000000000000",
    ] {
        assert_eq!(text.parse::<Selection>(), Err(Malformed), "{text:?}");
    }
}

/// Level, number of the page at that level, physical page number, access.
fn mapping() -> impl Strategy<Value = (u32, u64, u64, Access)> {
    let access = prop_oneof![Just(Access::Read), Just(Access::ReadWrite)];
    (0u32..3, 0u64..24, 0u64..40, access)
}

proptest! {
    #[test]
    fn a_dump_is_what_was_mapped(
        mappings in prop::collection::vec(mapping(), 0..80),
        five: bool,
        from in 0u64..0x400_0000,
        length in 0u64..0x1_0000_0000,
    ) {
        let mut memory = Memory::new(if five { Levels::Five } else { Levels::Four });
        let mut expected = BTreeMap::new();
        for (level, number, physical, access) in mappings {
            // Each size has a gigabyte of its own, so that they do not overlap.
            let page = 1 << shift(level);
            let iova = (u64::from(level) << 40) + number * page;
            memory.map(iova, physical * page, level, access);
            expected.insert(iova, (physical * page, page, access));
        }
        let lines = memory.dump(0, u64::MAX);
        prop_assert_eq!(&pages(&lines), &expected);
        // As few lines as possible, in order.
        for pair in lines.windows(2) {
            let (Line::Mapped(a), Line::Mapped(b)) = (pair[0], pair[1]) else { panic!("{pair:x?}") };
            prop_assert!(a.last < b.first);
            let continues = b.first == a.last + 1 && b.physical == a.physical + (a.last - a.first) + 1;
            prop_assert!(!(continues && a.page == b.page && a.access == b.access));
        }

        // A part is what overlaps it.
        let to = from + length;
        expected.retain(|iova, (_, page, _)| *iova <= to && *iova + (*page - 1) >= from);
        prop_assert_eq!(pages(&memory.dump(from, to)), expected);
    }

    #[test]
    fn garbage_is_survived(seed: u64, five: bool, first: u64, length: u64) {
        let levels = if five { Levels::Five } else { Levels::Four };
        let mut lines = 0;
        let read = |address: u64| {
            let mixed = (address ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(seed | 1);
            (mixed % 31 != 0).then_some(mixed)
        };
        let first = first >> 7;
        let Ok(()) = dump(Table { root: ROOT, levels }, first, first.saturating_add(length), read, |_| {
            lines += 1;
            Ok::<(), Infallible>(())
        });
        prop_assert!(lines <= MAX_LINES + 1);
    }
}
