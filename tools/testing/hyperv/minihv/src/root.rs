// SPDX-License-Identifier: GPL-2.0
//! A root partition: it has the board, the firmware's tables and all devices; the hypervisor keeps its own memory, and the
//! IOMMU.

use hvcore::acpi::Tables;
use hvcore::firmware_acpi;
use hvcore::ids::Gpa;
use hvcore::platform::BadGpa;
use hvcore::root::reference_time::ReferenceTime;

use crate::console::fatal;
use crate::memory::{self, GuestMemory};
use crate::time;

/// The firmware's ACPI tables without the IOMMU's; `rsdp` is where the firmware's root pointer is.
pub fn firmware_tables(rsdp: u64) -> Tables {
    let read = |address: u64, bytes: &mut [u8]| {
        // SAFETY: the firmware's tables are in memory that is identity mapped and that nothing has overwritten; any bytes
        // are valid.
        unsafe { core::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) }
    };
    match firmware_acpi::without_iommu(memory::acpi_range().start, rsdp, read) {
        Ok(tables) => tables,
        Err(error) => fatal!("the firmware's ACPI tables: {error:?}"),
    }
}

/// Fills the pages that the partition is shown.
///
/// # Errors
/// [`BadGpa`] when they are not in the partition's memory.
pub fn fill_overlays(memory: &GuestMemory) -> Result<(), BadGpa> {
    const PAGE_BYTES: u64 = 4096;
    let range = memory::overlays().range(crate::smp::MAX_PROCESSORS as u64);
    for page in (range.start..range.end).step_by(PAGE_BYTES as usize) {
        memory.write(Gpa(page), &[0; PAGE_BYTES as usize])?;
    }
    memory.write(memory::overlays().reference_tsc(), &ReferenceTime::new(time::hertz()).page())
}
