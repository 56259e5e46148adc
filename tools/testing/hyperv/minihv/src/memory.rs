// SPDX-License-Identifier: GPL-2.0
//! Who owns which physical addresses. Guest physical and physical addresses are the same.
//!
//! | Address | Use |
//! |---|---|
//! | 0x0000_8000 | start-up code of the other processors, before the guest runs |
//! | 0x0002_0000 | the guest's boot parameters and command line |
//! | 0x0080_0000 | minihv: image and heap; absent for guest processors and devices |
//! | after minihv | ACPI tables ([`ACPI_BYTES`]); of a root partition also pages that minihv shows it ([`overlays`]) |
//! | 0x0100_0000 | the guest's kernel |
//! | end of RAM below 4 GiB | the bundle; the guest uses the initramfs in place |
//! | 0xd000_0000 | VMBus' low MMIO window |
//! | 0x10_0000_0000 | VMBus' high MMIO window |

use alloc::vec::Vec;
use core::cmp::Reverse;

use hvcore::identity::Identity;
use hvcore::ids::Gpa;
use hvcore::memory_map::{PhysRange, RangeKind, Region};
use hvcore::overlay::Overlays;
use hvcore::platform::BadGpa;

use crate::smp::MAX_PROCESSORS;

/// Local APICs, all processors the same.
pub const LAPIC_BASE: u64 = 0xfee0_0000;
/// The I/O APIC.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// VMBus' window for configuration windows and 32-bit BARs (as in acpi/dsdt.asl).
pub const LOW_WINDOW: PhysRange = PhysRange { start: 0xd000_0000, end: 0xe000_0000 };
/// VMBus' window for 64-bit BARs (as in acpi/dsdt.asl).
pub const HIGH_WINDOW: PhysRange = PhysRange { start: 0x10_0000_0000, end: 0x20_0000_0000 };
/// Extended BIOS data, video memory and ROMs: Linux looks for SMBIOS and MP tables there.
pub const LEGACY_HOLE: PhysRange = PhysRange { start: 0x9_f000, end: 0x10_0000 };
/// Space for the ACPI tables, behind the hypervisor's image.
pub const ACPI_BYTES: u64 = 0x1_0000;

extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// The hypervisor's own memory: image, heap, boot stack.
pub fn own_range() -> PhysRange {
    PhysRange { start: &raw const __image_start as u64, end: &raw const __image_end as u64 }
}

/// Where the guest finds its ACPI tables.
pub fn acpi_range() -> PhysRange {
    let start = own_range().end;
    PhysRange { start, end: start + ACPI_BYTES }
}

/// The pages that a root partition is shown.
pub fn overlays() -> Overlays {
    Overlays::new(Gpa(acpi_range().end))
}

/// What is not simply RAM, from the hypervisor's own memory on.
pub fn carved(identity: Identity) -> Vec<Region> {
    let mut carved = Vec::from([
        Region { range: own_range(), kind: RangeKind::HYPERVISOR },
        Region { range: acpi_range(), kind: RangeKind::AcpiTables },
    ]);
    if identity == Identity::Root {
        let range = overlays().range(MAX_PROCESSORS as u64);
        carved.push(Region { range, kind: RangeKind::Overlays });
    }
    carved
}

/// The guest's RAM: the only memory that the hypervisor touches on its behalf.
///
/// # Invariants
/// No range overlaps the hypervisor's own memory or a device; all of them are identity mapped RAM.
#[derive(Clone)]
pub struct GuestMemory {
    ranges: Vec<PhysRange>,
}

impl GuestMemory {
    /// RAM and ACPI tables of the guest's memory map.
    pub fn new(regions: &[Region]) -> GuestMemory {
        let memory = regions.iter().filter(|region| region.kind.is_memory());
        let mut ranges: Vec<_> = memory.map(|region| region.range).collect();
        ranges.sort_by_key(|range| Reverse(range.bytes()));
        GuestMemory { ranges }
    }

    /// The ranges, the largest first: nearly every access falls into it.
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    /// Bytes in total.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.bytes()).sum()
    }

    /// Whether all of `len` bytes from `gpa` are guest RAM. An access may not straddle two ranges.
    pub fn contains(&self, gpa: Gpa, len: u64) -> bool {
        let Some(end) = gpa.0.checked_add(len) else { return false };
        self.ranges.iter().any(|range| range.contains(PhysRange { start: gpa.0, end }))
    }

    fn pointer(&self, gpa: Gpa, len: usize) -> Result<*mut u8, BadGpa> {
        match self.contains(gpa, len as u64) {
            true => Ok(gpa.0 as *mut u8),
            false => Err(BadGpa(gpa)),
        }
    }

    /// Copies guest memory into `buf`.
    ///
    /// # Errors
    /// [`BadGpa`] when a byte lies outside guest RAM.
    pub fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), BadGpa> {
        let source = self.pointer(gpa, buf.len())?;
        // SAFETY: checked to be guest RAM, which no Rust object lives in (invariant); the guest may change it
        // meanwhile, any bytes are valid.
        unsafe { core::ptr::copy_nonoverlapping(source, buf.as_mut_ptr(), buf.len()) }
        Ok(())
    }

    /// Copies `buf` to guest memory.
    ///
    /// # Errors
    /// [`BadGpa`] when a byte lies outside guest RAM; nothing is written then.
    pub fn write(&self, gpa: Gpa, buf: &[u8]) -> Result<(), BadGpa> {
        let target = self.pointer(gpa, buf.len())?;
        // SAFETY: as in read().
        unsafe { core::ptr::copy_nonoverlapping(buf.as_ptr(), target, buf.len()) }
        Ok(())
    }

    /// Copies within guest memory; the blocks may overlap.
    ///
    /// # Errors
    /// [`BadGpa`] when a byte of either block lies outside guest RAM; nothing is written then.
    pub fn copy(&self, from: Gpa, to: Gpa, len: usize) -> Result<(), BadGpa> {
        let (source, target) = (self.pointer(from, len)?, self.pointer(to, len)?);
        // SAFETY: as in read().
        unsafe { core::ptr::copy(source, target, len) }
        Ok(())
    }

    /// The aligned 64-bit word at `gpa`, for atomic access.
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    pub fn double_word(&self, gpa: Gpa) -> Result<&core::sync::atomic::AtomicU64, BadGpa> {
        let pointer = self.pointer(gpa, 8)?.cast::<u64>();
        if !pointer.is_aligned() {
            return Err(BadGpa(gpa));
        }
        // SAFETY: aligned guest RAM; guest processors and devices access it atomically as far as they share it.
        Ok(unsafe { core::sync::atomic::AtomicU64::from_ptr(pointer) })
    }

    /// The aligned word at `gpa`, for atomic access.
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    pub fn word(&self, gpa: Gpa) -> Result<&core::sync::atomic::AtomicU32, BadGpa> {
        let pointer = self.pointer(gpa, 4)?.cast::<u32>();
        if !pointer.is_aligned() {
            return Err(BadGpa(gpa));
        }
        // SAFETY: aligned guest RAM; guest processors access it atomically as far as they share it.
        Ok(unsafe { core::sync::atomic::AtomicU32::from_ptr(pointer) })
    }
}
