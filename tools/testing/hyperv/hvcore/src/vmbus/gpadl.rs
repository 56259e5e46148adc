// SPDX-License-Identifier: GPL-2.0
//! GPADLs: lists of guest pages that the guest hands to the host, in one message or several.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::Gpa;
use crate::nt_status::NtStatus;
use crate::platform::Platform;

use super::channel::Relid;

/// Most GPADLs at a time.
const MAX_GPADLS: usize = 128;
/// Most pages of all GPADLs together.
const MAX_PAGES: usize = 1 << 16;
const PAGE_BYTES: u64 = 4096;

/// A GPADL's name, chosen by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GpadlHandle(pub(super) u32);

/// What the guest says of a GPADL at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GpadlShape {
    /// Page numbers announced.
    pub(super) pages: usize,
    /// Ranges announced; only one is supported.
    pub(super) ranges: u16,
    /// Bytes of the range.
    pub(super) byte_count: u32,
    /// Offset of the range in its first page.
    pub(super) byte_offset: u32,
}

impl GpadlShape {
    /// Whether the announced pages are exactly those that the range spans.
    fn is_sound(&self) -> bool {
        let bytes = u64::from(self.byte_offset) + u64::from(self.byte_count);
        let in_first_page = u64::from(self.byte_offset) < PAGE_BYTES;
        self.ranges == 1 && self.byte_count != 0 && in_first_page && bytes.div_ceil(PAGE_BYTES) == self.pages as u64
    }
}

#[derive(Debug)]
struct Gpadl {
    relid: Relid,
    announced: usize,
    pages: Vec<Gpa>,
}

/// Where a GPADL stands after a message about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More page numbers are to come.
    Incomplete,
    /// It can be used.
    Created(Relid),
    /// It was refused and does not exist.
    Refused(Relid, NtStatus),
    /// The message continues a GPADL that does not exist, or one that is complete.
    Unknown,
}

/// All GPADLs of the connection.
#[derive(Debug, Default)]
pub(super) struct GpadlTable {
    gpadls: BTreeMap<GpadlHandle, Gpadl>,
}

impl GpadlTable {
    /// The first message about a GPADL, with as many page numbers as fit into it.
    pub(super) fn begin(
        &mut self,
        platform: &impl Platform,
        handle: GpadlHandle,
        relid: Relid,
        shape: GpadlShape,
        page_numbers: impl Iterator<Item = u64>,
    ) -> Progress {
        if !shape.is_sound() || self.gpadls.contains_key(&handle) {
            return Progress::Refused(relid, NtStatus::INVALID_PARAMETER);
        }
        let pages_held: usize = self.gpadls.values().map(|gpadl| gpadl.announced).sum();
        if self.gpadls.len() >= MAX_GPADLS || pages_held + shape.pages > MAX_PAGES {
            return Progress::Refused(relid, NtStatus::INSUFFICIENT_RESOURCES);
        }
        self.gpadls.insert(handle, Gpadl { relid, announced: shape.pages, pages: Vec::new() });
        self.append(platform, handle, page_numbers)
    }

    /// A further message about it.
    pub(super) fn append(
        &mut self,
        platform: &impl Platform,
        handle: GpadlHandle,
        page_numbers: impl Iterator<Item = u64>,
    ) -> Progress {
        let Some(gpadl) = self.gpadls.get_mut(&handle).filter(|gpadl| gpadl.pages.len() < gpadl.announced) else {
            return Progress::Unknown;
        };
        let relid = gpadl.relid;
        for number in page_numbers {
            let page = number.checked_mul(PAGE_BYTES).map(Gpa).filter(|&page| platform.is_guest_ram(page, PAGE_BYTES));
            match page {
                Some(page) if gpadl.pages.len() < gpadl.announced => gpadl.pages.push(page),
                _ => {
                    self.gpadls.remove(&handle);
                    return Progress::Refused(relid, NtStatus::INVALID_PARAMETER);
                }
            }
        }
        if gpadl.pages.len() < gpadl.announced {
            Progress::Incomplete
        } else {
            Progress::Created(relid)
        }
    }

    /// The pages of a complete GPADL of this channel.
    pub(super) fn pages(&self, handle: GpadlHandle, relid: Relid) -> Option<&[Gpa]> {
        let gpadl = self.gpadls.get(&handle).filter(|gpadl| gpadl.relid == relid)?;
        (gpadl.pages.len() == gpadl.announced).then_some(gpadl.pages.as_slice())
    }

    /// Forgets a GPADL of this channel; false when there is none.
    pub(super) fn remove(&mut self, handle: GpadlHandle, relid: Relid) -> bool {
        let is_there = self.gpadls.get(&handle).is_some_and(|gpadl| gpadl.relid == relid);
        if is_there {
            self.gpadls.remove(&handle);
        }
        is_there
    }

    /// Forgets all GPADLs of a channel.
    pub(super) fn remove_all_of(&mut self, relid: Relid) {
        self.gpadls.retain(|_, gpadl| gpadl.relid != relid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockPlatform, RAM_BYTES};
    use proptest::prelude::*;

    const RELID: Relid = Relid(1);
    const HANDLE: GpadlHandle = GpadlHandle(0xe1e10);

    fn whole_pages(pages: usize) -> GpadlShape {
        GpadlShape { pages, ranges: 1, byte_count: pages as u32 * 4096, byte_offset: 0 }
    }

    fn platform() -> MockPlatform {
        MockPlatform::new(vec![])
    }

    #[test]
    fn one_message() {
        let mut table = GpadlTable::default();
        let progress = table.begin(&platform(), HANDLE, RELID, whole_pages(3), [5, 7, 6].into_iter());
        assert_eq!(progress, Progress::Created(RELID));
        assert_eq!(table.pages(HANDLE, RELID), Some(&[Gpa(0x5000), Gpa(0x7000), Gpa(0x6000)][..]));
        assert_eq!(table.pages(HANDLE, Relid(2)), None);
        assert!(!table.remove(HANDLE, Relid(2)));
        assert!(table.remove(HANDLE, RELID));
        assert_eq!(table.pages(HANDLE, RELID), None);
    }

    #[test]
    fn continued_in_bodies() {
        let (mut table, platform) = (GpadlTable::default(), platform());
        assert_eq!(table.begin(&platform, HANDLE, RELID, whole_pages(60), 1..27), Progress::Incomplete);
        assert_eq!(table.pages(HANDLE, RELID), None);
        assert_eq!(table.append(&platform, HANDLE, 27..55), Progress::Incomplete);
        assert_eq!(table.append(&platform, HANDLE, 55..61), Progress::Created(RELID));
        assert_eq!(table.pages(HANDLE, RELID).map(<[Gpa]>::len), Some(60));
        assert_eq!(table.append(&platform, HANDLE, 61..62), Progress::Unknown);
        assert_eq!(table.pages(HANDLE, RELID).map(<[Gpa]>::len), Some(60));
    }

    #[test]
    fn what_is_refused() {
        let (mut table, platform) = (GpadlTable::default(), platform());
        let bad = Progress::Refused(RELID, NtStatus::INVALID_PARAMETER);
        let sound = whole_pages(2);
        for shape in [
            GpadlShape { pages: 0, byte_count: 0, ..sound },
            GpadlShape { pages: 3, ..sound },
            GpadlShape { pages: 1, ..sound },
            GpadlShape { ranges: 0, ..sound },
            GpadlShape { ranges: 2, ..sound },
            GpadlShape { byte_offset: 4096, ..sound },
            GpadlShape { byte_offset: 1, ..sound },
        ] {
            assert_eq!(table.begin(&platform, HANDLE, RELID, shape, 1..2), bad, "{shape:?}");
        }
        let too_many = table.begin(&platform, HANDLE, RELID, sound, 1..4);
        assert_eq!((too_many, table.append(&platform, HANDLE, 1..2)), (bad, Progress::Unknown));
        for number in [RAM_BYTES as u64 / 4096, 1 << 52, u64::MAX] {
            assert_eq!(table.begin(&platform, HANDLE, RELID, sound, [1, number].into_iter()), bad);
        }
        assert_eq!(table.begin(&platform, HANDLE, RELID, sound, 1..3), Progress::Created(RELID));
        assert_eq!(table.begin(&platform, HANDLE, RELID, sound, 3..5), bad);
        assert_eq!(table.pages(HANDLE, RELID), Some(&[Gpa(0x1000), Gpa(0x2000)][..]));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut table, platform) = (GpadlTable::default(), platform());
        let full = Progress::Refused(RELID, NtStatus::INSUFFICIENT_RESOURCES);
        for handle in 0..128 {
            let progress = table.begin(&platform, GpadlHandle(handle), RELID, whole_pages(1), 1..2);
            assert_eq!(progress, Progress::Created(RELID));
        }
        assert_eq!(table.begin(&platform, HANDLE, RELID, whole_pages(1), 1..2), full);
        table.remove_all_of(RELID);
        for handle in 0..8 {
            let progress = table.begin(&platform, GpadlHandle(handle), RELID, whole_pages(8190), 1..2);
            assert_eq!(progress, Progress::Incomplete);
        }
        assert_eq!(table.begin(&platform, HANDLE, RELID, whole_pages(100), 1..2), full);
    }

    proptest! {
        #[test]
        fn only_complete_lists_of_ram_are_usable(
            pages in 0_usize..12,
            ranges in 0_u16..3,
            byte_count in 0_u32..50_000,
            byte_offset in 0_u32..5000,
            chunks in proptest::collection::vec(proptest::collection::vec(0_u64..300, 0..8), 1..4),
        ) {
            let (mut table, platform) = (GpadlTable::default(), platform());
            let shape = GpadlShape { pages, ranges, byte_count, byte_offset };
            for (index, chunk) in chunks.iter().enumerate() {
                match index {
                    0 => table.begin(&platform, HANDLE, RELID, shape, chunk.iter().copied()),
                    _ => table.append(&platform, HANDLE, chunk.iter().copied()),
                };
            }
            if let Some(list) = table.pages(HANDLE, RELID) {
                prop_assert_eq!(list.len(), pages);
                prop_assert!(list.iter().all(|page| page.0 < RAM_BYTES as u64 && page.page_offset() == 0));
            }
        }
    }
}
