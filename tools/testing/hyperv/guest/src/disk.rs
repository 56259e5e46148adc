// SPDX-License-Identifier: GPL-2.0
//! A quick verified write and read of a block device, for boots that do not carry fio.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{bail, Context, Result};
use nix::sys::mman::{mmap_anonymous, munmap, MapFlags, ProtFlags};

/// Transfer sizes, in bytes: 4 KiB to 1 MiB, with odd numbers of pages among them.
const SIZES: [usize; 7] = [4096, 3 * 4096, 16384, 17 * 4096, 131_072, 33 * 4096, 1 << 20];
/// The most that one transfer moves, in bytes.
pub const LARGEST: usize = 1 << 20;
/// What direct I/O is a multiple of, in bytes.
pub const BLOCK: usize = 4096;
/// Rounds over all sizes of an ordinary check.
const ROUNDS: u64 = 3;

/// Page-aligned memory, as direct I/O wants it.
struct Aligned(std::ptr::NonNull<u8>);

impl Aligned {
    fn new() -> Result<Aligned> {
        let length = std::num::NonZeroUsize::new(LARGEST).context("size")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: a fresh anonymous mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
        Ok(Aligned(base.cast()))
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has LARGEST initialised bytes, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), LARGEST) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the slices handed out cannot outlive `self`.
        let _ = unsafe { munmap(self.0.cast(), LARGEST) };
    }
}

/// Fills a buffer with words that depend on their place on the disk, so that misplaced data is noticed.
fn fill(buffer: &mut [u8], position: u64) {
    for (i, word) in buffer.chunks_exact_mut(8).enumerate() {
        let value = (position + 8 * i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ position;
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// What [`Disk::write`] puts at `position`: `bytes` bytes, a multiple of 8.
pub fn pattern(position: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    fill(&mut buffer, position);
    buffer
}

/// A block device, open for direct I/O of up to 1 MiB at a time.
pub struct Disk {
    file: File,
    name: String,
    buffer: Aligned,
}

impl Disk {
    /// Opens it.
    ///
    /// # Errors
    /// When it is not there or somebody else has it for himself.
    pub fn open(device: &Path) -> Result<Disk> {
        let name = device.display().to_string();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(device);
        Ok(Disk { file: file.with_context(|| name.clone())?, name, buffer: Aligned::new()? })
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn bytes(&mut self) -> Result<u64> {
        self.file.seek(SeekFrom::End(0)).with_context(|| format!("the size of {}", self.name))
    }

    /// Writes what `source` has next, filled up with zeros to whole blocks of 4 KiB. Returns what was stored:
    /// nothing at its end.
    ///
    /// # Errors
    /// The error of either.
    pub fn store(&mut self, at: u64, source: &mut impl Read) -> Result<&[u8]> {
        let data = self.buffer.bytes();
        let mut bytes = 0;
        while bytes < data.len() {
            match source.read(&mut data[bytes..]).context("reading what is to be stored")? {
                0 => break,
                more => bytes += more,
            }
        }
        let whole = bytes.next_multiple_of(BLOCK);
        data[bytes..whole].fill(0);
        self.file.write_all_at(&data[..whole], at).with_context(|| format!("writing {whole} bytes at {at}"))?;
        Ok(&data[..bytes])
    }

    /// Reads `bytes` bytes, at most 1 MiB.
    ///
    /// # Errors
    /// The I/O error.
    pub fn load(&mut self, at: u64, bytes: usize) -> Result<&[u8]> {
        let whole = bytes.next_multiple_of(BLOCK);
        let data = self.buffer.bytes().get_mut(..whole).context("more than a transfer holds")?;
        self.file.read_exact_at(data, at).with_context(|| format!("reading {whole} bytes at {at}"))?;
        Ok(&data[..bytes])
    }

    /// Writes the pattern of this place.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write(&mut self, at: u64, bytes: usize) -> Result<()> {
        let data = &mut self.buffer.bytes()[..bytes];
        fill(data, at);
        self.file.write_all_at(data, at).with_context(|| format!("writing {bytes} bytes at {at}"))
    }

    /// Reads, and compares with the pattern of this place.
    ///
    /// # Errors
    /// The I/O error or the first difference.
    pub fn expect(&mut self, at: u64, bytes: usize) -> Result<()> {
        let read = &mut self.buffer.bytes()[..bytes];
        read.fill(0xee);
        self.file.read_exact_at(read, at).with_context(|| format!("reading {bytes} bytes at {at}"))?;
        if let Some(offset) = read.iter().zip(&pattern(at, bytes)).position(|(a, b)| a != b) {
            bail!("{}: {bytes} bytes at {at} differ from offset {offset} on", self.name);
        }
        Ok(())
    }
}

/// Writes and reads back with direct I/O, all sizes one after another, comparing every byte. Returns the number of
/// bytes that were compared.
///
/// # Errors
/// The first I/O error or the first difference.
pub fn verify(device: &Path) -> Result<u64> {
    verify_rounds(device, ROUNDS)
}

/// The same with so many rounds over all sizes.
///
/// # Errors
/// The first I/O error or the first difference.
pub fn verify_rounds(device: &Path, rounds: u64) -> Result<u64> {
    let mut disk = Disk::open(device)?;
    let extents = || {
        let sizes = (0..rounds).flat_map(|_| SIZES);
        sizes.scan(0_u64, |next, size| {
            let at = *next;
            *next += size as u64;
            Some((at, size))
        })
    };
    for (at, size) in extents() {
        disk.write(at, size)?;
    }
    let mut compared = 0;
    for (at, size) in extents() {
        disk.expect(at, size)?;
        compared += size as u64;
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_the_place() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        fill(&mut a, 0);
        fill(&mut b, 4096);
        assert_ne!(a, b);
        assert_ne!(a[..8], a[8..16]);
    }
}
