// SPDX-License-Identifier: GPL-2.0
//! Files without a file system (memfd), as memory that is shared with devices.

use std::fs::{self, File};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags};
use nix::sys::mman::MmapAdvise;

use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::pci::write_sysfs;

/// What a file's pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// 4 KiB.
    Small,
    /// 2 MiB from the kernel's pool.
    Huge,
    /// 2 MiB where the kernel finds them, as the program advises.
    Transparent,
}

impl Backing {
    /// Number of 4 KiB pages that come and go together.
    pub fn unit(self) -> usize {
        match self {
            Backing::Small => 1,
            Backing::Huge | Backing::Transparent => HugePage::TwoMiB.pages(),
        }
    }

    fn create(self) -> Result<File> {
        let flags = match self {
            Backing::Small | Backing::Transparent => libc::MFD_CLOEXEC,
            Backing::Huge => libc::MFD_CLOEXEC | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB,
        };
        // SAFETY: the name is a string that ends with a zero.
        let descriptor = Errno::result(unsafe { libc::memfd_create(c"dma".as_ptr(), flags) }).context("memfd")?;
        // SAFETY: the kernel just handed out this descriptor to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into())
    }

    fn advice(self) -> Option<MmapAdvise> {
        (self == Backing::Transparent).then_some(MmapAdvise::MADV_HUGEPAGE)
    }
}

/// Lets programs ask for huge pages in shared memory, until it is dropped.
struct Advisable(String);

impl Advisable {
    const FILE: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

    fn new() -> Result<Advisable> {
        let text = fs::read_to_string(Self::FILE).context(Self::FILE)?;
        let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        let before = Advisable(chosen.with_context(|| format!("{}: {text}", Self::FILE))?.to_owned());
        write_sysfs(Path::new(Self::FILE), "advise")?;
        Ok(before)
    }
}

impl Drop for Advisable {
    fn drop(&mut self) {
        // A later check that minds says so.
        let _ = write_sysfs(Path::new(Self::FILE), &self.0);
    }
}

/// A file and this process' view of all of it.
pub struct Memfd {
    backing: Backing,
    file: File,
    view: DmaBuffer,
    _advisable: Option<Advisable>,
}

impl Memfd {
    /// Makes a file of `units` units, all zero.
    ///
    /// # Errors
    /// When there is not as much memory of this kind.
    pub fn new(backing: Backing, units: usize) -> Result<Memfd> {
        let advisable = (backing == Backing::Transparent).then(Advisable::new).transpose()?;
        let (file, pages) = (backing.create()?, units * backing.unit());
        file.set_len((pages * PAGE) as u64).context("setting the length of a memfd")?;
        let view = DmaBuffer::of_file(&file, pages, backing.advice())?;
        let memfd = Memfd { backing, file, view, _advisable: advisable };
        (0..units).try_for_each(|unit| memfd.renew(unit))?;
        Ok(memfd)
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// This process' view of it.
    pub fn view(&self) -> &DmaBuffer {
        &self.view
    }

    /// Its length when it was made, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.view.pages() * PAGE) as u64
    }

    fn fallocate(&self, flags: FallocateFlags, first: usize, count: usize) -> Result<()> {
        let (offset, length) = (i64::try_from(first * PAGE)?, i64::try_from(count * PAGE)?);
        fallocate(&self.file, flags, offset, length).with_context(|| format!("fallocate {flags:?} of {count} pages"))
    }

    /// Gives the file a zeroed unit where it has none.
    ///
    /// # Errors
    /// When there is none.
    pub fn renew(&self, unit: usize) -> Result<()> {
        let pages = self.backing.unit();
        // Pages that cannot be had are an error here. Touching them would be answered by a signal. Advice is given for the
        // view: only what is touched there becomes a huge page.
        if self.backing != Backing::Transparent {
            self.fallocate(FallocateFlags::empty(), unit * pages, pages)?;
        }
        // A small page that nobody has touched reads as zero for the file's readers, whatever a device has written to it.
        self.view.fill(unit * pages, 0);
        Ok(())
    }

    /// Takes a unit out of the file.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn punch(&self, unit: usize) -> Result<()> {
        let pages = self.backing.unit();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        self.fallocate(flags, unit * pages, pages)
    }

    /// Cuts the file off behind so many pages, or makes it longer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self, pages: usize) -> Result<()> {
        self.file.set_len((pages * PAGE) as u64).context("changing the length of a memfd")
    }

    /// Every byte of a page of the file has `value`, as who reads the file sees it.
    ///
    /// # Errors
    /// Says what it holds instead.
    pub fn expect(&self, page: usize, value: u8, what: &str) -> Result<()> {
        let mut content = [0; PAGE];
        self.file.read_exact_at(&mut content, (page * PAGE) as u64).context("reading a memfd")?;
        let wrong = content.iter().position(|&byte| byte != value);
        ensure!(
            wrong.is_none(),
            "{what}: expected {value:#04x} everywhere, byte {wrong:?} of page {page} of the file is another"
        );
        Ok(())
    }
}
