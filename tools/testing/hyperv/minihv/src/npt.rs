// SPDX-License-Identifier: GPL-2.0
//! The nested page table: all that guest processors can reach.

use alloc::boxed::Box;

use hvcore::memory_map::{PhysRange, Region};
use spin::Mutex;

use crate::memory::{self, HIGH_WINDOW, IOAPIC_BASE, LAPIC_BASE, LEGACY_HOLE, LOW_WINDOW};
use crate::paging::{EntryFlags, IdentityTable, PageSize, TablePage};

const PRESENT_WRITABLE_USER: u64 = 7;
const PAGE_BYTES: u64 = 4096;
/// Bounds the memory that the guest can make us spend.
const MAX_HOLES: usize = 64;

static TABLE: Mutex<Option<NestedTable>> = Mutex::new(None);

struct NestedTable {
    table: IdentityTable,
    /// All ones: what the guest reads where nothing is. What it writes there stays there, in its own memory.
    nothing: &'static TablePage,
    holes: usize,
}

/// The guest has touched too many places where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyHoles;

/// Builds the table for a guest with these memory regions: RAM, firmware tables, the interrupt controllers and VMBus'
/// windows. The hypervisor, the IOMMU and the physical configuration space are absent. Returns its root's address.
pub fn build(regions: &[Region]) -> u64 {
    let flags = EntryFlags { table: PRESENT_WRITABLE_USER, leaf: PRESENT_WRITABLE_USER };
    let mut table = IdentityTable::new(flags, PageSize::Huge);
    let mut end_of_ram = 0;
    for region in regions {
        // The firmware reserves the end of RAM for its own tables; Linux reads SMBIOS there.
        let firmware_tables = region.range.start == end_of_ram && region.range != memory::own_range();
        if region.kind.is_memory() || firmware_tables {
            table.map(region.range);
            end_of_ram = region.range.end;
        }
    }
    table.map(LEGACY_HOLE);
    for base in [IOAPIC_BASE, LAPIC_BASE] {
        table.map(PhysRange { start: base, end: base + PAGE_BYTES });
    }
    table.map(LOW_WINDOW);
    table.map(HIGH_WINDOW);
    let root = table.root_address();
    let nothing = Box::leak(TablePage::filled(u64::MAX));
    *TABLE.lock() = Some(NestedTable { table, nothing, holes: 0 });
    root
}

/// The guest touched `address`, where nothing is. From now on it reads all ones there, as on a machine. Linux does so
/// on AMD processors: it looks for the chipset's reset register.
///
/// # Errors
/// [`TooManyHoles`] when that has happened too often.
pub fn fill_hole(address: u64) -> Result<(), TooManyHoles> {
    let mut guard = TABLE.lock();
    let nested = guard.as_mut().filter(|nested| nested.holes < MAX_HOLES).ok_or(TooManyHoles)?;
    nested.holes += 1;
    nested.table.map_page(address, nested.nothing.address());
    Ok(())
}
