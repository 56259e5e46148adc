// SPDX-License-Identifier: GPL-2.0
//! The memory of the kernel before, as `/proc/vmcore` has it. Large pieces are mapped: to be read, each page would be mapped
//! by the kernel, for itself alone, and unmapped again.

use std::fs::File;
use std::io::{Error, Result};
use std::num::NonZeroUsize;

use hvdump::source::Source;
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

use crate::memory::PAGE;

const PATH: &str = "/proc/vmcore";
/// Pieces from this size on are mapped, in bytes.
const LARGE: usize = 16 * PAGE;

/// The dump.
pub struct OldMemory(File);

impl OldMemory {
    /// Opens it.
    ///
    /// # Errors
    /// When no kernel has crashed before this one.
    pub fn open() -> Result<OldMemory> {
        File::open(PATH).map(OldMemory)
    }
}

impl Source for OldMemory {
    fn bytes(&self) -> Result<u64> {
        self.0.bytes()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        if into.len() < LARGE {
            return self.0.read(at, into);
        }
        let within = (at % PAGE as u64) as usize;
        let Some(bytes) = NonZeroUsize::new(within + into.len()) else { return Ok(()) };
        let place = i64::try_from(at - within as u64).map_err(Error::other)?;
        // SAFETY: a fresh mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, &self.0, place) }?;
        // SAFETY: `bytes` bytes are mapped from `base` on, so that `within` and what follows lie inside; `into` is memory of
        // this program's, elsewhere. Nobody writes to the mapping: the kernel whose memory it is does not run any more.
        unsafe { std::ptr::copy_nonoverlapping(base.cast::<u8>().as_ptr().add(within), into.as_mut_ptr(), into.len()) };
        // SAFETY: the mapping just made, to which no reference was made.
        unsafe { munmap(base, bytes.get()) }?;
        Ok(())
    }
}
