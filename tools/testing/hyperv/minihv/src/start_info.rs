// SPDX-License-Identifier: GPL-2.0
//! What QEMU hands over: the PVH start info (Xen's `hvm_start_info`, include/xen/interface/hvm/start_info.h in Linux).

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use hvcore::memory_map::{PhysRange, RangeKind, Region};

const MAGIC: u32 = 0x336e_c578;
/// The memory map exists from this version on.
const VERSION_WITH_MEMORY_MAP: u32 = 1;
/// More entries than any firmware produces.
const MAX_REGIONS: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Module {
    address: u64,
    bytes: u64,
    command_line: u64,
    reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

/// A copy of everything that matters, so that the memory it came from can be reused.
pub struct StartInfo {
    /// minihv's own command line (QEMU's `-append`).
    pub command_line: String,
    /// The firmware's memory map, in ascending order.
    pub regions: Vec<Region>,
    /// Where QEMU's `-initrd` lies.
    pub bundle: PhysRange,
    /// The firmware's ACPI root pointer; 0 when there is none.
    pub rsdp: u64,
}

/// Why the start info was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Wrong magic, or too old to carry a memory map.
    NotPvh,
    /// QEMU was started without `-initrd`.
    NoBundle,
}

/// Reads the start info at physical address `address`.
///
/// # Errors
/// See [`Error`].
///
/// # Safety
/// `address` is what the PVH loader passed in, and nothing has been overwritten since.
pub unsafe fn read(address: u32) -> Result<StartInfo, Error> {
    // SAFETY: the caller vouches for the address; the loader's structures are identity mapped, all addresses in them
    // are the loader's.
    unsafe {
        let header = (address as usize as *const Header).read_unaligned();
        if header.magic != MAGIC || header.version < VERSION_WITH_MEMORY_MAP {
            return Err(Error::NotPvh);
        }
        if header.module_count == 0 {
            return Err(Error::NoBundle);
        }
        let module = (header.modules as *const Module).read_unaligned();
        let command_line = match header.command_line {
            0 => String::new(),
            text => String::from_utf8_lossy(CStr::from_ptr(text as *const i8).to_bytes()).into_owned(),
        };
        let entries = header.memory_map as *const MapEntry;
        let mut regions: Vec<Region> = (0..header.memory_map_entries.min(MAX_REGIONS) as usize)
            .map(|i| entries.add(i).read_unaligned())
            .map(|entry| Region {
                range: PhysRange { start: entry.address, end: entry.address.saturating_add(entry.bytes) },
                kind: RangeKind::from_e820(entry.kind),
            })
            .collect();
        regions.sort_by_key(|region| region.range.start);
        let bundle = PhysRange { start: module.address, end: module.address.saturating_add(module.bytes) };
        Ok(StartInfo { command_line, regions, bundle, rsdp: header.rsdp })
    }
}
