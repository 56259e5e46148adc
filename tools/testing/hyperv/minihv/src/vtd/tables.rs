// SPDX-License-Identifier: GPL-2.0
//! Root, context and PASID tables.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hvcore::ids::{DeviceIndex, Rid};
use hvcore::vtd::context::{self, Half, TableOwner, TranslationRequests};
use hvcore::vtd::{pasid, root, PhysAddr};

use super::requesters;
use crate::console::fatal;
use crate::memory::{own_range, GuestMemory};
use crate::paging::{EntryFlags, IdentityTable, PageSize, TablePage};

const WORD_BYTES: usize = 8;

/// The tables that the root pointer leads to.
pub struct Tables {
    root: &'static mut TablePage,
    /// What the context tables of a bus say of functions without tables of their own.
    background: [u64; 4],
    buses: Vec<BusTables>,
    functions: Vec<FunctionTables>,
}

/// The context tables of one bus.
struct BusTables {
    bus: usize,
    lower: &'static mut TablePage,
    upper: &'static mut TablePage,
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
    /// Tables in which nothing gets through; `functions` in the order of their [`DeviceIndex`], with what becomes of
    /// their requests for translations while there is a table to answer from.
    pub fn new(functions: impl IntoIterator<Item = (Rid, TranslationRequests)>) -> Tables {
        let mut tables = Tables {
            root: Box::leak(TablePage::new()),
            background: context::Entry::ABSENT,
            buses: Vec::new(),
            functions: Vec::new(),
        };
        for (rid, requests) in functions {
            tables.add(rid, requests);
        }
        tables
    }

    fn add(&mut self, rid: Rid, requests: TranslationRequests) {
        self.add_bus(root::index(rid));
        let sets = [PasidSet::new(), PasidSet::new()];
        self.functions.push(FunctionTables { rid, requests, sets, active: 0 });
    }

    /// Tables of its own for a requester, if it has none yet; what is in force for it stays so until they are set.
    pub fn adopt(&mut self, rid: Rid) -> DeviceIndex {
        let known = self.functions.iter().position(|function| function.rid == rid);
        DeviceIndex(known.unwrap_or_else(|| {
            self.add(rid, TranslationRequests::Refused);
            self.functions.len() - 1
        }))
    }

    /// Tables in which every requester of the machine goes through this entry.
    pub fn of_every_requester(entry: [u64; 8]) -> Tables {
        let (root, background) = requesters::every_requester(entry);
        Tables { root, background, buses: Vec::new(), functions: Vec::new() }
    }

    fn add_bus(&mut self, bus: usize) {
        if self.buses.iter().any(|tables| tables.bus == bus) {
            return;
        }
        let half = || Box::leak(requesters::repeated(self.background));
        let tables = BusTables { bus, lower: half(), upper: half() };
        let halves = [tables.lower.address(), tables.upper.address()].map(|address| Some(PhysAddr(address)));
        let first = bus * root::ENTRY_BYTES / WORD_BYTES;
        for (i, word) in root::Entry::to_tables(halves[0], halves[1]).into_iter().enumerate() {
            self.root.store(first + i, word);
        }
        self.buses.push(tables);
    }

    /// Physical address of the root table.
    pub fn root_address(&self) -> u64 {
        self.root.address()
    }

    /// Requester id of a function.
    pub fn rid(&self, device: DeviceIndex) -> Option<Rid> {
        self.functions.get(device.0).map(|function| function.rid)
    }

    /// What becomes of a function's requests for translations while there is a table to answer from.
    pub fn requests(&self, device: DeviceIndex) -> TranslationRequests {
        self.functions.get(device.0).map_or(TranslationRequests::Refused, |function| function.requests)
    }

    /// Puts `entry` in force for a function's requests, in one step. What the IOMMU has cached is the caller's.
    pub fn set(&mut self, device: DeviceIndex, entry: [u64; 8], owner: TableOwner) {
        let Some(function) = self.functions.get_mut(device.0) else { return };
        function.active ^= 1;
        let set = &mut function.sets[function.active];
        for (i, word) in entry.into_iter().enumerate() {
            set.table.store(i, word);
        }
        let directory = PhysAddr(set.directory.address());
        let words = context::Entry::with_pasid_directory(directory, function.requests, owner);
        let (half, index) = context::index(function.rid);
        let bus = root::index(function.rid);
        let Some(tables) = self.buses.iter_mut().find(|tables| tables.bus == bus) else { return };
        let table = match half {
            Half::Lower => &mut *tables.lower,
            Half::Upper => &mut *tables.upper,
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
    PhysAddr(identity_by(flags, memory, largest).root_address())
}

/// The same in entries with these flags.
pub fn identity_by(flags: EntryFlags, memory: &GuestMemory, largest: PageSize) -> IdentityTable {
    let mut table = IdentityTable::new(flags, largest);
    for range in memory.ranges() {
        table.map(*range);
    }
    let own = own_range();
    if let Some(address) = (own.start..own.end).step_by(size_of::<TablePage>()).find(|&address| table.maps(address)) {
        fatal!("bypassed devices would reach the hypervisor's memory at {address:#x}")
    }
    table
}
