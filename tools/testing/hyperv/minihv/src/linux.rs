// SPDX-License-Identifier: GPL-2.0
//! Loading the guest's kernel by the 32-bit boot protocol (Documentation/arch/x86/boot.rst in Linux).

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use hvcore::bundle::{self, Layout};
use hvcore::ids::Gpa;
use hvcore::memory_map::{PhysRange, Region};
use hvcore::platform::BadGpa;

use crate::memory::GuestMemory;

/// Where the guest's boot parameters go.
const BOOT_PARAMS: u64 = 0x2_0000;
const BOOT_PARAMS_BYTES: usize = 4096;
/// Where its command line goes.
const COMMAND_LINE: u64 = 0x2_1000;

/// Offsets in the boot parameters, most of them in the setup header.
mod field {
    pub const ACPI_RSDP: usize = 0x70;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const SETUP_SECTORS: usize = 0x1f1;
    pub const HEADER_MAGIC: usize = 0x202;
    pub const HEADER_LENGTH: usize = 0x201;
    pub const PROTOCOL: usize = 0x206;
    pub const LOADER_TYPE: usize = 0x210;
    pub const LOAD_FLAGS: usize = 0x211;
    pub const INITRAMFS_ADDRESS: usize = 0x218;
    pub const INITRAMFS_BYTES: usize = 0x21c;
    pub const COMMAND_LINE: usize = 0x228;
    pub const PREFERRED_ADDRESS: usize = 0x258;
    pub const INIT_BYTES: usize = 0x260;
    pub const E820_TABLE: usize = 0x2d0;
}

const HEADER_MAGIC: [u8; 4] = *b"HdrS";
/// The first protocol with a preferred load address.
const OLDEST_PROTOCOL: u16 = 0x20a;
const LOADER_UNDEFINED: u8 = 0xff;
const E820_MAX: usize = 128;
const E820_ENTRY_BYTES: usize = 20;

/// What the boot processor starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's 32-bit entry point.
    pub rip: u64,
    /// Address of the boot parameters.
    pub boot_params: u64,
}

/// Why the guest cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// QEMU's `-initrd` is no bundle, or its parts are longer than it.
    Bundle,
    /// The kernel is no bzImage, or too old.
    Kernel,
    /// No RAM where something has to go, or not enough of it.
    Memory(BadGpa),
}

impl From<BadGpa> for Error {
    fn from(bad: BadGpa) -> Self {
        Error::Memory(bad)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bundle => write!(f, "the -initrd file is no bundle of kernel, initramfs and command line"),
            Error::Kernel => write!(f, "the bundle's kernel is no bzImage with boot protocol 2.10 or later"),
            Error::Memory(BadGpa(gpa)) => write!(f, "the guest does not fit: too little RAM around {:#x}", gpa.0),
        }
    }
}

/// Copies the guest's kernel into place and writes its boot parameters.
///
/// # Errors
/// See [`Error`].
pub fn load(memory: &GuestMemory, regions: &[Region], bundle: PhysRange, rsdp: u64) -> Result<Entry, Error> {
    let parts = Parts::find(memory, bundle)?;
    let mut params = BootParams::from_kernel(memory, &parts)?;

    let (entry, init_bytes) = (params.u64(field::PREFERRED_ADDRESS), u64::from(params.u32(field::INIT_BYTES)));
    let kernel = PhysRange { start: entry, end: entry.saturating_add(init_bytes) };
    if !memory.contains(Gpa(entry), init_bytes) || kernel.overlaps(bundle) {
        return Err(Error::Memory(BadGpa(Gpa(entry))));
    }
    let setup_bytes = params.setup_bytes();
    let code_bytes = parts.kernel.bytes().checked_sub(setup_bytes).ok_or(Error::Kernel)?;
    memory.copy(Gpa(parts.kernel.start + setup_bytes), Gpa(entry), code_bytes as usize)?;

    params.put(field::ACPI_RSDP, &rsdp.to_le_bytes());
    params.put(field::LOADER_TYPE, &[LOADER_UNDEFINED]);
    params.put(field::INITRAMFS_ADDRESS, &(parts.initramfs.start as u32).to_le_bytes());
    params.put(field::INITRAMFS_BYTES, &(parts.initramfs.bytes() as u32).to_le_bytes());
    params.put(field::COMMAND_LINE, &(COMMAND_LINE as u32).to_le_bytes());
    params.put_memory_map(regions);
    memory.write(Gpa(COMMAND_LINE), &parts.command_line)?;
    memory.write(Gpa(BOOT_PARAMS), &params.0)?;
    Ok(Entry { rip: entry, boot_params: BOOT_PARAMS })
}

/// The bundle's parts, in guest RAM below 4 GiB.
struct Parts {
    kernel: PhysRange,
    initramfs: PhysRange,
    /// With its final NUL.
    command_line: Vec<u8>,
}

impl Parts {
    fn find(memory: &GuestMemory, bundle: PhysRange) -> Result<Parts, Error> {
        let mut header = vec![0; bundle::HEADER_BYTES];
        memory.read(Gpa(bundle.start), &mut header)?;
        let layout = Layout::decode(&header).map_err(|_| Error::Bundle)?;
        let part = |offset: usize, bytes: u32| {
            let start = bundle.start + offset as u64;
            PhysRange { start, end: start + u64::from(bytes) }
        };
        let kernel = part(bundle::HEADER_BYTES, layout.kernel_bytes);
        let initramfs = part(layout.initramfs_offset(), layout.initramfs_bytes);
        if !bundle.contains(kernel) || !bundle.contains(initramfs) || bundle.end > 1 << 32 {
            return Err(Error::Bundle);
        }
        let mut command_line: Vec<u8> =
            header.iter().skip(bundle::COMMAND_LINE_OFFSET).take(layout.command_line_bytes as usize).copied().collect();
        command_line.push(0);
        Ok(Parts { kernel, initramfs, command_line })
    }
}

struct BootParams([u8; BOOT_PARAMS_BYTES]);

impl BootParams {
    /// Zeroes, and the setup header of the kernel.
    fn from_kernel(memory: &GuestMemory, parts: &Parts) -> Result<BootParams, Error> {
        let mut image = [0; BOOT_PARAMS_BYTES];
        if parts.kernel.bytes() < BOOT_PARAMS_BYTES as u64 {
            return Err(Error::Kernel);
        }
        memory.read(Gpa(parts.kernel.start), &mut image)?;
        let header_end = field::HEADER_MAGIC + usize::from(image[field::HEADER_LENGTH]);
        let mut params = BootParams([0; BOOT_PARAMS_BYTES]);
        params.put(field::SETUP_SECTORS, &image[field::SETUP_SECTORS..header_end]);
        let protocol = params.u32(field::PROTOCOL) as u16;
        let magic = params.u32(field::HEADER_MAGIC).to_le_bytes();
        // Bit 0 of the load flags: the kernel wants to be loaded high, as every bzImage does.
        if magic != HEADER_MAGIC || protocol < OLDEST_PROTOCOL || params.0[field::LOAD_FLAGS] & 1 == 0 {
            return Err(Error::Kernel);
        }
        Ok(params)
    }

    /// Length of the real-mode part, which is not loaded, in bytes.
    fn setup_bytes(&self) -> u64 {
        const SECTOR: u64 = 512;
        let sectors = match self.0[field::SETUP_SECTORS] {
            0 => 4,
            n => u64::from(n),
        };
        (sectors + 1) * SECTOR
    }

    fn put_memory_map(&mut self, regions: &[Region]) {
        let count = regions.len().min(E820_MAX);
        for (i, region) in regions.iter().take(count).enumerate() {
            let at = field::E820_TABLE + i * E820_ENTRY_BYTES;
            self.put(at, &region.range.start.to_le_bytes());
            self.put(at + 8, &region.range.bytes().to_le_bytes());
            self.put(at + 16, &region.kind.e820().to_le_bytes());
        }
        self.put(field::E820_ENTRIES, &[count as u8]);
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        self.0[offset..offset + value.len()].copy_from_slice(value);
    }

    fn u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_le_bytes(bytes)
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from(self.u32(offset)) | u64::from(self.u32(offset + 4)) << 32
    }
}
