// SPDX-License-Identifier: GPL-2.0
//! Root, context and PASID tables. All functions are on bus 0.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hvcore::ids::{DeviceIndex, Rid};
use hvcore::vtd::context::{self, Half, TranslationRequests};
use hvcore::vtd::{pasid, root, PhysAddr};

use crate::memory::GuestMemory;
use crate::paging::{EntryFlags, IdentityTable, PageSize, TablePage};

const WORD_BYTES: usize = 8;

/// The tables that the root pointer leads to.
pub struct Tables {
    root: &'static mut TablePage,
    lower: &'static mut TablePage,
    upper: &'static mut TablePage,
    functions: Vec<FunctionTables>,
}

/// A function's PASID tables exist twice: the context entry, one 64-bit word, switches from one to the other, so that
/// the device sees the old translation or the new one at any time.
struct FunctionTables {
    rid: Rid,
    requests: TranslationRequests,
    sets: [PasidSet; 2],
    active: usize,
}

struct PasidSet {
    directory: &'static mut TablePage,
    table: &'static mut TablePage,
}

impl PasidSet {
    fn new() -> PasidSet {
        let table = Box::leak(TablePage::new());
        let directory = Box::leak(TablePage::new());
        directory.store(0, pasid::DirectoryEntry::to_table(PhysAddr(table.address())));
        PasidSet { directory, table }
    }
}

impl Tables {
    /// Tables in which nothing gets through; `functions` in the order of their [`DeviceIndex`].
    pub fn new(functions: impl IntoIterator<Item = (Rid, TranslationRequests)>) -> Tables {
        let mut tables = Tables {
            root: Box::leak(TablePage::new()),
            lower: Box::leak(TablePage::new()),
            upper: Box::leak(TablePage::new()),
            functions: Vec::new(),
        };
        let halves = [tables.lower.address(), tables.upper.address()].map(|address| Some(PhysAddr(address)));
        let first = root::index(Rid(0)) * root::ENTRY_BYTES / WORD_BYTES;
        for (i, word) in root::Entry::to_tables(halves[0], halves[1]).into_iter().enumerate() {
            tables.root.store(first + i, word);
        }
        for (rid, requests) in functions {
            let sets = [PasidSet::new(), PasidSet::new()];
            tables.functions.push(FunctionTables { rid, requests, sets, active: 0 });
        }
        tables
    }

    /// Physical address of the root table.
    pub fn root_address(&self) -> u64 {
        self.root.address()
    }

    /// Requester id of a function.
    pub fn rid(&self, device: DeviceIndex) -> Option<Rid> {
        self.functions.get(device.0).map(|function| function.rid)
    }

    /// Puts `entry` in force for a function's requests, in one step. What the IOMMU has cached is the caller's.
    pub fn set(&mut self, device: DeviceIndex, entry: [u64; 8]) {
        let Some(function) = self.functions.get_mut(device.0) else { return };
        function.active ^= 1;
        let set = &mut function.sets[function.active];
        for (i, word) in entry.into_iter().enumerate() {
            set.table.store(i, word);
        }
        let words = context::Entry::with_pasid_directory(PhysAddr(set.directory.address()), function.requests);
        let (half, index) = context::index(function.rid);
        let table = match half {
            Half::Lower => &mut *self.lower,
            Half::Upper => &mut *self.upper,
        };
        // The first word makes the entry valid, so it goes last.
        for (i, word) in words.into_iter().enumerate().rev() {
            table.store(index * context::ENTRY_BYTES / WORD_BYTES + i, word);
        }
    }
}

/// Builds the first-stage table of the bypass translation: guest RAM onto itself, nothing else.
pub fn identity(memory: &GuestMemory, largest: PageSize) -> PhysAddr {
    use hvcore::vtd::paging;
    let flags = EntryFlags { table: paging::table(PhysAddr(0)), leaf: paging::leaf_4k(PhysAddr(0)) };
    let mut table = IdentityTable::new(flags, largest);
    for range in memory.ranges() {
        table.map(*range);
    }
    PhysAddr(table.root_address())
}
