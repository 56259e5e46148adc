// SPDX-License-Identifier: GPL-2.0
//! A device's registers, mapped into this process.

use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

use crate::memory::UserRange;

/// A mapped BAR.
pub struct MappedBar {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only ever accessed by volatile reads and writes.
unsafe impl Send for MappedBar {}

impl MappedBar {
    /// Maps `bytes` bytes (a multiple of the page size) of `file`, which is a BAR, at `offset`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn map(file: &File, offset: u64, bytes: usize) -> Result<MappedBar> {
        let length = NonZeroUsize::new(bytes).context("empty BAR")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, i64::try_from(offset)?) }
            .context("mmap of a BAR")?;
        Ok(MappedBar { base: base.cast(), bytes })
    }

    /// The whole of it, as a target of another device's DMA.
    pub fn range(&self) -> UserRange {
        // SAFETY: the mapping of this many bytes; it is only ever accessed by volatile reads and writes.
        unsafe { UserRange::new(self.base, self.bytes) }
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        assert!(offset % size == 0 && offset + size <= self.bytes, "register {offset:#x} is outside the BAR");
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Reads a 32-bit register.
    ///
    /// # Panics
    /// When `offset` is unaligned or outside the BAR: a bug of the caller.
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: `register` checks bounds and alignment; the mapping lives as long as `self`.
        unsafe { self.register::<u32>(offset).read_volatile() }
    }

    /// Reads a 64-bit register as two halves, low half first (what every device allows).
    pub fn read64(&self, offset: usize) -> u64 {
        u64::from(self.read32(offset)) | (u64::from(self.read32(offset + 4)) << 32)
    }

    /// Writes a 32-bit register. Panics like [`MappedBar::read32`].
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as in `read32`; what the device does with it is the caller's business, as with any driver.
        unsafe { self.register::<u32>(offset).write_volatile(value) }
    }

    /// Writes a 64-bit register in one access. Panics like [`MappedBar::read32`].
    pub fn write64(&self, offset: usize, value: u64) {
        // SAFETY: as in `write32`.
        unsafe { self.register::<u64>(offset).write_volatile(value) }
    }
}

impl Drop for MappedBar {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; no pointer into it outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}
