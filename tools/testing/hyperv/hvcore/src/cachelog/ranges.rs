// SPDX-License-Identifier: GPL-2.0
//! Sets of IOVA pages, kept as ranges.

use alloc::collections::BTreeMap;
use core::fmt;

use crate::ids::Iova;

/// IOVA pages of 4 KiB from `start` up to, but not including, `end`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    start: u64,
    end: u64,
}

impl IovaRange {
    /// The naturally aligned block of `1 << page_shift` pages around `iova`; `page_shift` up to 52.
    pub fn block(iova: Iova, page_shift: u8) -> IovaRange {
        let pages = 1u64 << page_shift.min(52);
        let start = (iova.0 >> 12) & !(pages - 1);
        IovaRange { start, end: start + pages }
    }

    /// Number of pages.
    pub fn pages(self) -> u64 {
        self.end - self.start
    }

    /// First address.
    pub fn first(self) -> Iova {
        Iova(self.start << 12)
    }

    fn overlap(self, other: IovaRange) -> Option<IovaRange> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(IovaRange { start, end })
    }
}

/// Both ends inclusive, in bytes.
impl fmt::Display for IovaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iova {:#x}-{:#x}", self.start << 12, (self.end << 12).wrapping_sub(1))
    }
}

/// A set of pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IovaSet {
    /// End by start. The ranges are disjoint and do not touch.
    ranges: BTreeMap<u64, u64>,
}

impl IovaSet {
    /// Adds all pages of `range`.
    pub fn insert(&mut self, range: IovaRange) {
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.ranges.range(..start).next_back() {
            if before_end >= start {
                start = before;
                end = end.max(before_end);
            }
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next() {
            end = end.max(next_end);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// Takes all pages of `range` out.
    pub fn remove(&mut self, range: IovaRange) {
        while let Some(hit) = self.first_in(range) {
            let Some((&start, &end)) = self.ranges.range(..=hit.start).next_back() else { return };
            self.ranges.remove(&start);
            if start < hit.start {
                self.ranges.insert(start, hit.start);
            }
            if hit.end < end {
                self.ranges.insert(hit.end, end);
            }
        }
    }

    /// The first pages that are both in the set and in `range`.
    pub fn first_in(&self, range: IovaRange) -> Option<IovaRange> {
        let before = self.ranges.range(..=range.start).next_back();
        let behind = self.ranges.range(range.start..range.end).next();
        let part = |(&start, &end): (&u64, &u64)| IovaRange { start, end }.overlap(range);
        before.and_then(part).or_else(|| behind.and_then(part))
    }

    /// The range with the lowest address.
    pub fn first(&self) -> Option<IovaRange> {
        self.ranges.first_key_value().map(|(&start, &end)| IovaRange { start, end })
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Number of ranges that the set is kept as.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no page in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_aligned() {
        let block = IovaRange::block(Iova(0x1234_5678), 4);
        assert_eq!((block.first(), block.pages()), (Iova(0x1234_0000), 16));
        assert_eq!(block.to_string(), "iova 0x12340000-0x1234ffff");
        assert_eq!(IovaRange::block(Iova(u64::MAX), 52).to_string(), "iova 0x0-0xffffffffffffffff");
    }

    fn range() -> impl Strategy<Value = IovaRange> {
        (0u64..64, 1u64..20).prop_map(|(start, pages)| IovaRange { start, end: start + pages })
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(steps in prop::collection::vec((any::<bool>(), range()), 0..40), probe in range()) {
            let (mut set, mut model) = (IovaSet::default(), BTreeSet::new());
            for (adds, range) in steps {
                if adds {
                    set.insert(range);
                    model.extend(range.start..range.end);
                } else {
                    set.remove(range);
                    model.retain(|page| !(range.start..range.end).contains(page));
                }
                prop_assert_eq!(set.pages(), model.len() as u64);
                prop_assert_eq!(set.is_empty(), model.is_empty());
                let flat: BTreeSet<u64> = set.ranges.iter().flat_map(|(&start, &end)| start..end).collect();
                prop_assert_eq!(&flat, &model);
                // No two ranges touch: the number of ranges is the least possible.
                let starts = model.iter().filter(|page| **page == 0 || !model.contains(&(*page - 1))).count();
                prop_assert_eq!(set.range_count(), starts);
            }
            let first = (probe.start..probe.end).find(|page| model.contains(page));
            prop_assert_eq!(set.first_in(probe).map(|range| range.start), first);
        }
    }
}
