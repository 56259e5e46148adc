// SPDX-License-Identifier: GPL-2.0
//! Memory that a device reads and writes behind this program's back.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use anyhow::{bail, Context, Result};
use hvcore::ids::Gpa;
use nix::sys::mman::{madvise, mlock, mmap, mmap_anonymous, munmap, MapFlags, MmapAdvise, ProtFlags};

/// Bytes per page.
pub const PAGE: usize = 4096;

/// A stretch of this process' address space that no reference points into: memory for devices, or a device's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    address: u64,
    bytes: u64,
}

impl UserRange {
    /// The `bytes` bytes from `base` on.
    ///
    /// # Safety
    /// They must be mapped, and no reference may point to them: the kernel can be told to let a device at them.
    pub unsafe fn new(base: NonNull<u8>, bytes: usize) -> UserRange {
        UserRange { address: base.as_ptr() as u64, bytes: bytes as u64 }
    }

    /// Virtual address.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Length in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

/// What a device may do with memory that is mapped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
    /// Write it. An IOMMU that cannot keep a device from reading what it may write lets it read, too.
    Write,
}

/// Sizes of pages that the kernel keeps pools of (hugetlb).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePage {
    /// 2 MiB.
    TwoMiB,
    /// 1 GiB.
    OneGiB,
}

impl HugePage {
    /// Base-2 logarithm of the number of bytes.
    pub fn shift(self) -> u32 {
        match self {
            HugePage::TwoMiB => 21,
            HugePage::OneGiB => 30,
        }
    }

    /// Number of 4 KiB pages.
    pub fn pages(self) -> usize {
        (1 << self.shift()) / PAGE
    }

    /// Has the kernel keep so many of these pages ready. Those in use go when they are given back.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn fill_pool(self, count: usize) -> Result<()> {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", (1_u64 << self.shift()) >> 10);
        fs::write(&path, count.to_string()).context(path)
    }
}

/// Page-aligned memory: anonymous, populated and locked, or a file's.
pub struct DmaBuffer {
    base: NonNull<u8>,
    pages: usize,
}

/// A page's content, small enough to compare and to name in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Every byte has this value.
    All(u8),
    /// Mixed; the first byte that differs from the first one.
    Mixed {
        /// Byte 0.
        first: u8,
        /// Where the content changes.
        offset: usize,
        /// The byte there.
        then: u8,
    },
}

impl DmaBuffer {
    /// Allocates `pages` zeroed pages.
    ///
    /// # Errors
    /// When the system has no memory or `pages` is 0.
    pub fn new(pages: usize) -> Result<DmaBuffer> {
        let buffer = DmaBuffer::untouched(pages)?;
        for page in 0..pages {
            // Write once so that no page is the shared zero page.
            buffer.fill(page, 0);
        }
        Ok(buffer)
    }

    /// The same without writing to them: quicker for many. Populated for writing, they are no shared pages, either.
    ///
    /// # Errors
    /// As [`DmaBuffer::new`].
    pub fn untouched(pages: usize) -> Result<DmaBuffer> {
        let bytes = NonZeroUsize::new(pages * PAGE).context("empty buffer")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: a fresh anonymous mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }
            .context("mmap of a DMA buffer")?;
        let buffer = DmaBuffer { base: base.cast(), pages };
        // SAFETY: the range is the mapping just made.
        unsafe { mlock(base, bytes.get()) }.context("mlock of a DMA buffer")?;
        Ok(buffer)
    }

    /// Allocates `pages` zeroed pages that child processes share: they get no copies of them.
    ///
    /// # Errors
    /// As [`DmaBuffer::new`].
    pub fn shared(pages: usize) -> Result<DmaBuffer> {
        let bytes = NonZeroUsize::new(pages * PAGE).context("empty buffer")?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: as in `untouched`.
        let base = unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }
            .context("mmap of shared memory")?;
        Ok(DmaBuffer { base: base.cast(), pages })
    }

    /// Allocates one zeroed huge page.
    ///
    /// # Errors
    /// When the kernel's pool of such pages is empty.
    pub fn huge(size: HugePage) -> Result<DmaBuffer> {
        DmaBuffer::huge_pages(size, 1)
    }

    /// Allocates `count` zeroed huge pages.
    ///
    /// # Errors
    /// When the kernel's pool of such pages does not hold them.
    pub fn huge_pages(size: HugePage, count: usize) -> Result<DmaBuffer> {
        let bytes = NonZeroUsize::new(count * size.pages() * PAGE).context("empty buffer")?;
        let huge = MapFlags::from_bits_retain((size.shift() << libc::MAP_HUGE_SHIFT) as i32);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE | MapFlags::MAP_HUGETLB | huge;
        // SAFETY: as in `new`.
        let base = unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }
            .with_context(|| format!("no huge page of {size:?} is free"))?;
        Ok(DmaBuffer { base: base.cast(), pages: count * size.pages() })
    }

    /// The first `pages` pages of a file, shared with everybody who has it. A page that the file loses must not be
    /// touched until the file has it again.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn of_file(file: &File, pages: usize, advice: Option<MmapAdvise>) -> Result<DmaBuffer> {
        let bytes = NonZeroUsize::new(pages * PAGE).context("empty buffer")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, file, 0) }.context("mmap of a file")?;
        let buffer = DmaBuffer { base: base.cast(), pages };
        if let Some(advice) = advice {
            // SAFETY: the range is the mapping just made; none of the advice used here changes its content.
            unsafe { madvise(base, bytes.get(), advice) }.context("madvise")?;
        }
        Ok(buffer)
    }

    /// Pages `first..first + count`.
    ///
    /// # Panics
    /// When they are not all in the buffer: a bug of the caller.
    pub fn range(&self, first: usize, count: usize) -> UserRange {
        assert!(count > 0 && first + count <= self.pages, "range outside the buffer");
        let base = NonNull::new(self.pointer(first)).expect("pages are not at address 0");
        // SAFETY: just checked to lie within the mapping; no reference to this memory ever exists.
        unsafe { UserRange::new(base, count * PAGE) }
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Virtual address of a page, for the kernel.
    ///
    /// # Panics
    /// When `page` is outside the buffer: a bug of the caller.
    pub fn address(&self, page: usize) -> u64 {
        self.pointer(page) as u64
    }

    fn pointer(&self, page: usize) -> *mut u8 {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        // SAFETY: the offset lies within the mapping of `pages` pages.
        unsafe { self.base.as_ptr().add(page * PAGE) }
    }

    /// Sets every byte of a page.
    pub fn fill(&self, page: usize, value: u8) {
        let start = self.pointer(page);
        for offset in 0..PAGE {
            // SAFETY: within the page; volatile because a device reads it. No reference to this memory ever exists.
            unsafe { start.add(offset).write_volatile(value) };
        }
    }

    fn word_pointer(&self, page: usize, index: usize) -> *mut u64 {
        assert!(index < PAGE / 8, "word {index} of a page");
        // SAFETY: just checked to lie within the page, which is aligned.
        unsafe { self.pointer(page).cast::<u64>().add(index) }
    }

    /// Sets the 64-bit word number `index` of a page.
    ///
    /// # Panics
    /// When page or word are outside: a bug of the caller.
    pub fn set_word(&self, page: usize, index: usize, value: u64) {
        // SAFETY: within the page; volatile because a device reads it. No reference to this memory ever exists.
        unsafe { self.word_pointer(page, index).write_volatile(value) }
    }

    /// The 64-bit word number `index` of a page. Panics like [`DmaBuffer::set_word`].
    pub fn word(&self, page: usize, index: usize) -> u64 {
        // SAFETY: as in `set_word`; a device writes it.
        unsafe { self.word_pointer(page, index).read_volatile() }
    }

    /// What a page holds now.
    pub fn content(&self, page: usize) -> Content {
        let start = self.pointer(page);
        // SAFETY: within the page; volatile because a device writes it. No reference to this memory ever exists.
        let byte = |offset: usize| unsafe { start.add(offset).read_volatile() };
        let first = byte(0);
        match (1..PAGE).find(|&offset| byte(offset) != first) {
            None => Content::All(first),
            Some(offset) => Content::Mixed { first, offset, then: byte(offset) },
        }
    }

    /// Checks that every byte of a page has `value`.
    ///
    /// # Errors
    /// Says what it holds instead.
    pub fn expect(&self, page: usize, value: u8, what: &str) -> Result<()> {
        match self.content(page) {
            Content::All(seen) if seen == value => Ok(()),
            seen => bail!("{what}: expected {value:#04x} everywhere, memory holds {seen:x?}"),
        }
    }

    /// How many bytes of a page have `value`.
    pub fn count(&self, page: usize, value: u8) -> usize {
        (0..PAGE / 8).flat_map(|word| self.word(page, word).to_ne_bytes()).filter(|byte| *byte == value).count()
    }

    /// The physical address of a page, from `/proc/self/pagemap`.
    ///
    /// # Errors
    /// When the page is not present or the kernel hides the number.
    pub fn physical(&self, page: usize) -> Result<Gpa> {
        let pagemap = File::open("/proc/self/pagemap").context("/proc/self/pagemap")?;
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, self.address(page) / PAGE as u64 * 8).context("/proc/self/pagemap")?;
        let entry = u64::from_ne_bytes(entry);
        let frame = entry & ((1 << 55) - 1);
        if entry >> 63 == 0 || frame == 0 {
            bail!("/proc/self/pagemap does not tell the page's frame ({entry:#x})");
        }
        Ok(Gpa(frame * PAGE as u64))
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nobody holds a reference into it.
        let _ = unsafe { munmap(self.base.cast(), self.pages * PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_apart() {
        let buffer = DmaBuffer::new(2).unwrap();
        buffer.fill(1, 0x5a);
        assert_eq!(buffer.content(0), Content::All(0));
        assert!(buffer.expect(1, 0x5a, "page 1").is_ok());
        assert!(buffer.expect(1, 0x5b, "page 1").is_err());
    }
}
