// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Memory that a device reads and writes behind the program's back.

use std::fmt;
use std::io;
use std::ptr::NonNull;

use anyhow::{ensure, Context, Result};

/// Size of the pages of memory that the processor maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB: ordinary memory.
    Small,
    /// 2 MiB, from the kernel's pool of such pages (hugetlb).
    TwoMiB,
    /// 1 GiB, from the kernel's pool of such pages (hugetlb).
    OneGiB,
}

impl PageSize {
    /// Base-2 logarithm of the number of bytes.
    fn shift(self) -> u32 {
        match self {
            PageSize::Small => 12,
            PageSize::TwoMiB => 21,
            PageSize::OneGiB => 30,
        }
    }

    /// Number of bytes.
    pub fn bytes(self) -> usize {
        1 << self.shift()
    }

    /// The file that holds the size of the kernel's pool; `None` for ordinary memory.
    fn pool(self) -> Option<String> {
        let kib = self.bytes() >> 10;
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages");
        (self != PageSize::Small).then_some(path)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PageSize::Small => "4 KiB",
            PageSize::TwoMiB => "2 MiB",
            PageSize::OneGiB => "1 GiB",
        })
    }
}

/// Zeroed memory of this process, present as long as this value lives.
///
/// It is only ever accessed by volatile reads and writes: to the compiler, a device is somebody who
/// changes memory at any time.
pub struct Memory {
    base: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    /// Allocates `count` pages, in one piece for the processor.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn allocate(size: PageSize, count: usize) -> Result<Memory> {
        let bytes = size.bytes() * count;
        ensure!(bytes > 0, "no pages were asked for");
        let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        if size != PageSize::Small {
            flags |= libc::MAP_HUGETLB | (size.shift() << libc::MAP_HUGE_SHIFT) as i32;
        }
        // SAFETY: a fresh anonymous mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(error).with_context(|| match size.pool() {
                Some(pool) => {
                    format!("too few huge pages of {size} are free; {pool} sets how many there are")
                }
                None => format!("{bytes} bytes of memory"),
            });
        }
        let base = NonNull::new(base.cast()).context("the kernel mapped memory at address 0")?;
        Ok(Memory { base, bytes })
    }

    /// Where this process sees it.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of `length` bytes at `offset`.
    fn at(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "{length} bytes at {offset:#x}"
        );
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// Copies `data` to `offset`.
    ///
    /// # Panics
    /// When it does not fit there: a bug of the caller. So do the other functions.
    pub fn write(&self, offset: usize, data: &[u8]) {
        let to = self.at(offset, data.len());
        for (index, byte) in data.iter().enumerate() {
            // SAFETY: within the range just checked. No reference to this memory ever exists.
            unsafe { to.add(index).write_volatile(*byte) };
        }
    }

    /// Copies `length` bytes at `offset` out.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let from = self.at(offset, length);
        let byte = |index: usize| {
            // SAFETY: within the range just checked. No reference to this memory ever exists.
            unsafe { from.add(index).read_volatile() }
        };
        (0..length).map(byte).collect()
    }

    /// Sets `length` bytes at `offset`.
    pub fn fill(&self, offset: usize, length: usize, value: u8) {
        let to = self.at(offset, length);
        for index in 0..length {
            // SAFETY: within the range just checked. No reference to this memory ever exists.
            unsafe { to.add(index).write_volatile(value) };
        }
    }

    /// The 16-bit word at `offset`, read in one access.
    pub fn read16(&self, offset: usize) -> u16 {
        assert!(offset % 2 == 0, "word at odd offset {offset:#x}");
        // SAFETY: within the range that `at` checks, and aligned: the mapping starts at a page.
        unsafe { self.at(offset, 2).cast::<u16>().read_volatile() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `allocate`; nobody holds a pointer into it. What is still
        // mapped for a device stays allocated until it is unmapped there.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let memory = Memory::allocate(PageSize::Small, 2).unwrap();
        assert_eq!(memory.bytes(), 8192);
        memory.write(4095, &[1, 2, 3]);
        memory.fill(4098, 2, 9);
        assert_eq!(memory.read(4094, 7), [0, 1, 2, 3, 9, 9, 0]);
        assert_eq!(memory.read16(4096), 0x0302);
    }

    #[test]
    #[should_panic(expected = "2 bytes")]
    fn the_end_is_the_end() {
        Memory::allocate(PageSize::Small, 1).unwrap().read(4095, 2);
    }
}
