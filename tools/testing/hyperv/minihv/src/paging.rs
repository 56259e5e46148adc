// SPDX-License-Identifier: GPL-2.0
//! Four-level tables in x86-64 format that map addresses onto themselves: the guest processors' nested table and the
//! devices' bypass table.

use alloc::boxed::Box;

use hvcore::memory_map::PhysRange;
use hvcore::paging::{self, index, shift, ENTRIES};

pub use hvcore::paging::PageSize;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1 << 0;
const LARGE: u64 = 1 << 7;

/// A page that hardware reads: aligned, at its own physical address.
#[repr(C, align(4096))]
pub struct TablePage(pub [u64; ENTRIES as usize]);

impl TablePage {
    /// A page of zeroes.
    pub fn new() -> Box<TablePage> {
        TablePage::filled(0)
    }

    /// A page of one repeated word.
    pub fn filled(word: u64) -> Box<TablePage> {
        Box::new(TablePage([word; ENTRIES as usize]))
    }

    /// Writes an entry that hardware may be reading. Entries become visible in the order of their stores.
    pub fn store(&mut self, index: usize, value: u64) {
        if let Some(entry) = self.0.get_mut(index) {
            // SAFETY: a valid, aligned location; volatile because the IOMMU reads it at any time.
            unsafe { core::ptr::write_volatile(entry, value) }
        }
    }

    /// Its physical address.
    pub fn address(&self) -> u64 {
        self as *const TablePage as u64
    }
}

/// Physical address of the table that this processor uses for itself.
pub fn current_root() -> u64 {
    x86_64::registers::control::Cr3::read().0.start_address().as_u64()
}

/// The size bit of a leaf.
fn leaf_flag(size: PageSize) -> u64 {
    match size {
        PageSize::Small => 0,
        PageSize::Large | PageSize::Huge => LARGE,
    }
}

/// Low bits of the entries (the leaf's size bit excluded).
#[derive(Clone, Copy, Debug)]
pub struct EntryFlags {
    /// Of entries that point at a table.
    pub table: u64,
    /// Of leaves.
    pub leaf: u64,
}

/// There is no leaf of 4 KiB, and none can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotSplit;

/// An identity table. Its pages live for ever.
///
/// # Invariants
/// Every non-leaf entry points at a leaked [`TablePage`] that belongs to this table alone.
pub struct IdentityTable {
    root: &'static mut TablePage,
    flags: EntryFlags,
    largest: PageSize,
}

impl IdentityTable {
    /// An empty table with leaves of up to `largest`.
    pub fn new(flags: EntryFlags, largest: PageSize) -> IdentityTable {
        IdentityTable { root: Box::leak(TablePage::new()), flags, largest }
    }

    /// Maps `range`, shrunk to whole 4 KiB pages, onto itself with the largest leaves that fit exactly.
    pub fn map(&mut self, range: PhysRange) {
        for (address, size) in paging::leaves(range, self.largest) {
            self.set_leaf(address, size, address);
        }
    }

    /// Maps the page around `address`, where nothing is mapped, onto the page at `target`.
    pub fn map_page(&mut self, address: u64, target: u64) {
        self.set_leaf(address, PageSize::Small, target & ADDRESS);
    }

    /// Changes the flags of the 4-KiB leaf that maps the page around `address`, or did before its flags were taken away. A
    /// larger leaf there is split as far as `budget`, in tables, allows.
    ///
    /// # Errors
    /// [`CannotSplit`] when the budget is too small, or nothing is mapped there; nothing is changed then but for splits.
    pub fn set_flags(&mut self, address: u64, flags: u64, budget: &mut usize) -> Result<(), CannotSplit> {
        const FLAGS: u64 = 7;
        let mut table = &mut *self.root;
        for level in (1..=PageSize::TOP_LEVEL).rev() {
            let index = index(address, level);
            let entry = table.0[index];
            if entry & PRESENT == 0 {
                return Err(CannotSplit);
            }
            if entry & LARGE != 0 {
                *budget = budget.checked_sub(1).ok_or(CannotSplit)?;
                let mut parts = TablePage::new();
                let size = if level == 1 { 0 } else { LARGE };
                let first = entry & ADDRESS & !((1 << shift(level)) - 1);
                for (part, word) in parts.0.iter_mut().enumerate() {
                    *word = first + ((part as u64) << shift(level - 1)) | entry & FLAGS | size;
                }
                table.store(index, Box::leak(parts).address() | self.flags.table);
            }
            // SAFETY: a present entry above the leaves that is no leaf points at a table of ours (invariant).
            table = unsafe { &mut *((table.0[index] & ADDRESS) as *mut TablePage) };
        }
        let index = index(address, 0);
        if table.0[index] == 0 {
            return Err(CannotSplit);
        }
        table.store(index, address & ADDRESS | flags);
        Ok(())
    }

    fn set_leaf(&mut self, address: u64, size: PageSize, target: u64) {
        let flags = self.flags;
        let mut table = &mut *self.root;
        for level in (size.level() + 1..=PageSize::TOP_LEVEL).rev() {
            let index = index(address, level);
            if table.0[index] & PRESENT == 0 {
                table.store(index, Box::leak(TablePage::new()).address() | flags.table);
            }
            // SAFETY: a present entry above the leaf points at a table of ours (invariant). It is no leaf itself:
            // nothing is mapped twice with different sizes.
            table = unsafe { &mut *((table.0[index] & ADDRESS) as *mut TablePage) };
        }
        table.store(index(address, size.level()), target | flags.leaf | leaf_flag(size));
    }

    /// Whether anything is mapped at `address`.
    pub fn maps(&self, address: u64) -> bool {
        self.entry(address) & PRESENT != 0
    }

    /// Whether a page was mapped at `address` until its flags were taken away.
    pub fn is_withheld(&self, address: u64) -> bool {
        let entry = self.entry(address);
        entry != 0 && entry & PRESENT == 0
    }

    /// The leaf around `address`, or the entry that is not present where the way there ends.
    fn entry(&self, address: u64) -> u64 {
        let mut table = &*self.root;
        for level in (1..=PageSize::TOP_LEVEL).rev() {
            let entry = table.0[index(address, level)];
            if entry & PRESENT == 0 || entry & LARGE != 0 {
                return entry;
            }
            // SAFETY: a present entry that is no leaf points at a table of ours (invariant).
            table = unsafe { &*((entry & ADDRESS) as *const TablePage) };
        }
        table.0[index(address, PageSize::Small.level())]
    }

    /// Physical address of the root.
    pub fn root_address(&self) -> u64 {
        self.root.address()
    }
}
