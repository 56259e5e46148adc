// SPDX-License-Identifier: GPL-2.0
//! The nested page table: all that guest processors can reach.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use hvcore::memory_map::{PhysRange, Region};
use spin::Mutex;

use crate::memory::{self, HIGH_WINDOW, IOAPIC_BASE, LAPIC_BASE, LEGACY_HOLE, LOW_WINDOW};
use crate::paging::{CannotSplit, EntryFlags, IdentityTable, PageSize, TablePage};
use crate::smp::MAX_PROCESSORS;
use crate::vtd::registers;

const PRESENT_WRITABLE_USER: u64 = 7;
const PRESENT_USER: u64 = 5;
const PAGE_BYTES: u64 = 4096;
/// Bounds the memory that the guest can make us spend.
const MAX_HOLES: usize = 64;
/// Tables for splitting large leaves: more than half a gigabyte of guest RAM in pieces of 4 KiB.
const MAX_SPLITS: usize = 300;

/// All that the emulated machine's processors can address.
const MACHINE: PhysRange = PhysRange { start: 0, end: 1 << 40 };

static TABLE: Mutex<Option<NestedTable>> = Mutex::new(None);

struct NestedTable {
    table: IdentityTable,
    /// All ones: what the guest reads where nothing is. What it writes there stays there, in its own memory.
    nothing: &'static TablePage,
    holes: usize,
    /// Tables left for splitting large leaves.
    splits: usize,
}

/// Counts changes of entries that a processor may have cached.
static GENERATION: AtomicU64 = AtomicU64::new(0);

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
    *TABLE.lock() = Some(NestedTable { table, nothing, holes: 0, splits: MAX_SPLITS });
    root
}

/// Builds the table for a root partition: the whole machine, but for the hypervisor's memory and the IOMMU's registers.
/// Returns its root's address.
pub fn build_for_root() -> u64 {
    let flags = EntryFlags { table: PRESENT_WRITABLE_USER, leaf: PRESENT_WRITABLE_USER };
    let mut table = IdentityTable::new(flags, PageSize::Huge);
    let mut rest = Some(MACHINE);
    for hidden in [memory::own_range(), registers::RANGE] {
        let [below, above] = rest.map_or([None, None], |range| range.without(hidden));
        if let Some(below) = below {
            table.map(below);
        }
        rest = above;
    }
    if let Some(rest) = rest {
        table.map(rest);
    }
    let root = table.root_address();
    let nothing = Box::leak(TablePage::filled(u64::MAX));
    *TABLE.lock() = Some(NestedTable { table, nothing, holes: 0, splits: MAX_SPLITS });
    root
}

/// The guest touched `address`, where nothing is. From now on it reads all ones there, as on a machine. Linux does so
/// on AMD processors: it looks for the chipset's reset register. And the kernel after a crash of a root partition does so
/// when it reads the memory of the one before, which had deposited some.
///
/// # Errors
/// [`TooManyHoles`] when that has happened too often. Pages that were deposited do not count: their tables are there.
pub fn fill_hole(address: u64) -> Result<(), TooManyHoles> {
    let mut guard = TABLE.lock();
    let nested = guard.as_mut().ok_or(TooManyHoles)?;
    if !nested.table.is_withheld(address) {
        if nested.holes >= MAX_HOLES {
            return Err(TooManyHoles);
        }
        nested.holes += 1;
    }
    nested.table.map_page(address, nested.nothing.address());
    Ok(())
}

/// Guest processors can no longer write to the page around `address`, once each has noticed [`generation`].
///
/// # Errors
/// [`CannotSplit`] when there is no memory left for that.
pub fn protect(address: u64) -> Result<(), CannotSplit> {
    set_flags(address, PRESENT_USER)
}

/// Guest processors can write to the page again.
pub fn unprotect(address: u64) {
    // It fails only for a page that was never protected.
    let _ = set_flags(address, PRESENT_WRITABLE_USER);
}

/// What guest processors may do with a page of their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read it.
    Read,
    /// All.
    Full,
}

/// Guest processors have this access to the page around `address`, once each has noticed [`generation`].
///
/// # Errors
/// [`CannotSplit`] when there is no memory left for that.
pub fn set_access(address: u64, access: Access) -> Result<(), CannotSplit> {
    let flags = match access {
        Access::None => 0,
        Access::Read => PRESENT_USER,
        Access::Full => PRESENT_WRITABLE_USER,
    };
    set_flags(address, flags)
}

/// Whether a root partition may let devices reach all of `len` bytes from `gpa`: all that its processors address, but for
/// what is the hypervisor's, and the local APICs, where a write is an interrupt.
pub fn is_mappable(gpa: u64, len: u64) -> bool {
    const INTERRUPTS: PhysRange = PhysRange { start: LAPIC_BASE, end: LAPIC_BASE + 0x10_0000 };
    let Some(end) = gpa.checked_add(len) else { return false };
    let range = PhysRange { start: gpa, end };
    let overlays = memory::overlays().range(MAX_PROCESSORS as u64);
    let taken = [memory::own_range(), memory::acpi_range(), overlays, registers::RANGE, INTERRUPTS];
    MACHINE.contains(range) && !taken.iter().any(|other| other.overlaps(range))
}

fn set_flags(address: u64, flags: u64) -> Result<(), CannotSplit> {
    let mut guard = TABLE.lock();
    let NestedTable { table, splits, .. } = guard.as_mut().ok_or(CannotSplit)?;
    table.set_flags(address, flags, splits)?;
    GENERATION.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Changes with the table. A processor that enters the guest with another one than the last time drops what it cached.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::SeqCst)
}

/// Whether the guest's processors reach `address`.
pub fn maps(address: u64) -> bool {
    TABLE.lock().as_ref().is_some_and(|nested| nested.table.maps(address))
}
