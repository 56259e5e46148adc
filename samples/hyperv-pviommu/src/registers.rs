// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A device's registers, mapped into this process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use anyhow::{ensure, Context, Result};

/// A mapped BAR.
pub struct Registers {
    base: NonNull<u8>,
    bytes: usize,
}

impl Registers {
    /// Maps `bytes` bytes of a device file at `offset`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn map(file: &File, offset: u64, bytes: usize) -> Result<Registers> {
        ensure!(bytes > 0, "the device has no such BAR");
        let offset = i64::try_from(offset)?;
        // SAFETY: a new mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let file = file.as_raw_fd();
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file,
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mapping a BAR");
        }
        let base = NonNull::new(base.cast()).context("the kernel mapped a BAR at address 0")?;
        Ok(Registers { base, bytes })
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>());
        let fits = end.is_some_and(|end| end <= self.bytes) && offset % size_of::<T>() == 0;
        assert!(fits, "there is no register at {offset:#x}");
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Reads a 32-bit register.
    ///
    /// # Panics
    /// When `offset` is unaligned or outside the BAR: a bug of the caller. So do the other functions.
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: `register` checks bounds and alignment; the mapping lives as long as `self`.
        unsafe { self.register::<u32>(offset).read_volatile() }
    }

    /// Reads a 64-bit register in two halves, the lower one first.
    pub fn read64(&self, offset: usize) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset + 4)) << 32
    }

    /// Writes a 32-bit register.
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as in `read32`. What the device does then is confined by its I/O address space.
        unsafe { self.register::<u32>(offset).write_volatile(value) }
    }

    /// Writes a 64-bit register in one access.
    pub fn write64(&self, offset: usize, value: u64) {
        // SAFETY: as in `write32`.
        unsafe { self.register::<u64>(offset).write_volatile(value) }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; no pointer into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
