// SPDX-License-Identifier: GPL-2.0
//! Client of the driver in tools/testing/hyperv/attack: DMA API mappings on demand.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{Gpa, Iova};
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

use super::window::Arena;
use crate::hotplug::wait_until;
use crate::iomem;
use crate::modules::insmod;
use crate::pci::PciFunction;

/// Where the runner packs it.
const FILE: &str = "/attack/hv_attack.ko";
/// Its file.
const CONTROL: &str = "/dev/hv_attack";
/// Where the reserved memory is: in the middle of a guest of 1 GiB, and beyond the end of the smallest one.
const RESERVED: u64 = 0x2000_0000;
/// Its name as a driver.
pub const DRIVER: &str = "hv_attack";

/// Which way data goes, as the driver of a device says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Both ways.
    Both,
    /// The device reads.
    ToDevice,
    /// The device writes.
    FromDevice,
}

impl Flow {
    fn word(self) -> &'static str {
        match self {
            Flow::Both => "both",
            Flow::ToDevice => "to",
            Flow::FromDevice => "from",
        }
    }
}

/// A mapping that the module made.
#[derive(Clone, Debug)]
pub struct Mapped {
    handle: u32,
    /// Where the device sees it, piece by piece.
    pub iovas: Vec<Iova>,
}

impl Mapped {
    /// Where the device sees its first byte.
    pub fn iova(&self) -> Iova {
        self.iovas[0]
    }
}

/// Mappings that were made until there was no room for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// The first address of the lowest one.
    pub lowest: Iova,
    /// The first address of the highest one.
    pub highest: Iova,
    /// How many begin inside of the one before.
    pub overlaps: usize,
}

/// The module's file, and its arena.
pub struct Module {
    file: File,
    physical: u64,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and no reference points into it.
unsafe impl Send for Module {}

fn number(word: &str) -> Result<u64> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.with_context(|| format!("{CONTROL}: {word:?} is no number"))
}

impl Module {
    /// Loads the module, unless it is there. `reserved` is the address of memory that the kernel leaves alone, where that
    /// is to be the arena.
    ///
    /// # Errors
    /// When it was not packed, or does not fit this kernel.
    pub fn load(reserved: Option<u64>) -> Result<Module> {
        if !Path::new(CONTROL).exists() {
            match reserved {
                Some(address) => insmod(FILE, &[&format!("reserved={address:#x}")])?,
                None => insmod(FILE, &[])?,
            }
            wait_until("the module's file", || Ok(Path::new(CONTROL).exists()))?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(CONTROL).context(CONTROL)?;
        let answer = ask(&mut file, "info")?;
        let (physical, bytes) = answer.split_once(' ').context("info")?;
        let (physical, bytes) = (number(physical)?, usize::try_from(number(bytes)?)?);
        let length = NonZeroUsize::new(bytes).context("the arena is empty")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel picks overlaps nothing.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }.context("the arena")?;
        Ok(Module { file, physical, base: base.cast(), bytes })
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        ask(&mut self.file, command)
    }

    fn mapped(&mut self, command: &str) -> Result<Mapped> {
        let answer = self.ask(command)?;
        let words: Vec<u64> = answer.split_whitespace().map(number).collect::<Result<_>>()?;
        let (handle, iovas) = words.split_first().with_context(|| format!("{command}: no answer"))?;
        if iovas.is_empty() {
            bail!("{command}: {answer:?}");
        }
        Ok(Mapped { handle: u32::try_from(*handle)?, iovas: iovas.iter().copied().map(Iova).collect() })
    }

    /// `dma_map_single()` of a part of the arena.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn map(&mut self, function: &PciFunction, offset: usize, bytes: usize, flow: Flow) -> Result<Mapped> {
        self.mapped(&format!("map {} {offset} {bytes} {}", function.address, flow.word()))
    }

    /// `dma_map_sgtable()` of parts of the arena, each an offset and a length.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn map_list(&mut self, function: &PciFunction, flow: Flow, parts: &[(usize, usize)]) -> Result<Mapped> {
        let parts: Vec<String> = parts.iter().map(|(offset, bytes)| format!("{offset} {bytes}")).collect();
        let parts = parts.join(" ");
        self.mapped(&format!("list {} {} {parts}", function.address, flow.word()))
    }

    /// `dma_alloc_coherent()`.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn coherent(&mut self, function: &PciFunction, bytes: usize) -> Result<Mapped> {
        self.mapped(&format!("coherent {} {bytes}", function.address))
    }

    /// Sets every byte of coherent memory.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn fill(&mut self, mapped: &Mapped, value: u8) -> Result<()> {
        self.ask(&format!("fill {} {value}", mapped.handle)).map(|_| ())
    }

    /// How many bytes of coherent memory have a value.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn count(&mut self, mapped: &Mapped, value: u8) -> Result<usize> {
        let answer = self.ask(&format!("count {} {value}", mapped.handle))?;
        Ok(usize::try_from(number(&answer)?)?)
    }

    /// Undoes a mapping.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn unmap(&mut self, mapped: &Mapped) -> Result<()> {
        self.ask(&format!("unmap {}", mapped.handle)).map(|_| ())
    }

    /// Sets the function's DMA masks to so many bits.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn set_mask(&mut self, function: &PciFunction, bits: u32) -> Result<()> {
        self.ask(&format!("mask {} {bits}", function.address)).map(|_| ())
    }

    /// Maps the arena's first `bytes` bytes, for reading, until the DMA API refuses. What is held already stays.
    ///
    /// # Errors
    /// The kernel's errno, with the command. That the DMA API refuses is none.
    pub fn exhaust(&mut self, function: &PciFunction, bytes: usize) -> Result<Held> {
        let answer = self.ask(&format!("exhaust {} {bytes}", function.address))?;
        let words: Vec<u64> = answer.split_whitespace().map(number).collect::<Result<_>>()?;
        let [count, lowest, highest, overlaps] = words[..] else { bail!("exhaust: {answer:?}") };
        let (count, overlaps) = (usize::try_from(count)?, usize::try_from(overlaps)?);
        Ok(Held { count, lowest: Iova(lowest), highest: Iova(highest), overlaps })
    }

    /// Unmaps all that [`Module::exhaust`] mapped.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn release(&mut self) -> Result<()> {
        self.ask("release").map(|_| ())
    }

    /// Makes the kernel take the function for one behind an external port.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn distrust(&mut self, function: &PciFunction) -> Result<()> {
        self.ask(&format!("untrusted {} 1", function.address)).map(|_| ())
    }

    /// Ends what [`Module::distrust`] began.
    ///
    /// # Errors
    /// The kernel's errno, with the command.
    pub fn trust(&mut self, function: &PciFunction) -> Result<()> {
        self.ask(&format!("untrusted {} 0", function.address)).map(|_| ())
    }
}

fn ask(file: &mut File, command: &str) -> Result<String> {
    file.write_all(command.as_bytes()).with_context(|| format!("{DRIVER}: {command}"))?;
    let mut answer = [0; 512];
    let length = file.read(&mut answer).context(CONTROL)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

impl Arena for Module {
    fn physical(&self) -> u64 {
        self.physical
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn pointer(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.bytes, "{offset:#x} is outside the arena");
        // SAFETY: just checked to lie within the mapping.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `load`; windows borrow the module.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}

/// The memory that the kernels leave alone.
///
/// # Errors
/// When the kernel was not told to.
pub fn reserved() -> Result<Module> {
    let arena = Gpa(RESERVED)..Gpa(RESERVED + (4 << 20));
    let owned = iomem::system_ram()?.iter().any(|ram| ram.start < arena.end && arena.start < ram.end);
    ensure!(!owned, "the kernel uses the memory at {RESERVED:#x}: memmap= is missing");
    let module = Module::load(Some(RESERVED))?;
    // Where there is nothing, what is written is lost.
    let last = module.window(module.bytes() - 8..module.bytes());
    let before = last.word(0);
    last.set_word(0, !before);
    let is_memory = last.word(0) == !before;
    last.set_word(0, before);
    ensure!(is_memory, "there is no memory at {RESERVED:#x}: the guest is too small");
    Ok(module)
}
