// SPDX-License-Identifier: GPL-2.0
//! The crashed kernel's memory in a dump (ELF, as /proc/vmcore is), by the kernel's virtual addresses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::{bail, ensure, Context as _, Result};

use crate::source::Source;

/// A virtual address of the crashed kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

impl Address {
    /// So many bytes behind; addresses wrap.
    pub fn plus(self, bytes: u64) -> Address {
        Address(self.0.wrapping_add(bytes))
    }

    /// How many bytes it lies behind another one, wrapping.
    pub fn behind(self, other: Address) -> u64 {
        self.0.wrapping_sub(other.0)
    }
}

/// What a search looks for: 16 bytes at a multiple of 8.
pub type Mark = [u8; 16];

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
/// From here on the kernel's own image is mapped, once more: a search finds nothing new there.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;
/// What a search reads at a time, in bytes.
const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;
/// Pages that are kept in case they are asked for again.
const KEPT_PAGES: usize = 256;

/// Memory that lies in one piece.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: Address,
    /// Where in the dump.
    offset: u64,
    bytes: u64,
}

/// The crashed kernel's memory.
pub struct Memory<'a, S: Source + ?Sized> {
    source: &'a S,
    segments: Vec<Segment>,
    pages: RefCell<BTreeMap<u64, Box<[u8]>>>,
}

/// A number of `N` bytes in a header.
fn field<const N: usize>(header: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk()).context("a header ends too early")?;
    Ok(*bytes)
}

fn half(header: &[u8], at: usize) -> Result<u16> {
    field(header, at).map(u16::from_le_bytes)
}

fn word(header: &[u8], at: usize) -> Result<u64> {
    field(header, at).map(u64::from_le_bytes)
}

impl<'a, S: Source + ?Sized> Memory<'a, S> {
    /// Reads the headers of a dump.
    ///
    /// # Errors
    /// When it is no ELF dump of an x86-64 kernel, or has no memory in it.
    pub fn open(source: &'a S) -> Result<Memory<'a, S>> {
        let end = source.bytes().context("the size of the dump")?;
        let mut header = [0; HEADER_BYTES];
        source.read(0, &mut header).context("the ELF header")?;
        ensure!(header.starts_with(b"\x7fELF\x02\x01"), "no ELF file of 64 bits, little endian");
        let kind = (half(&header, 16)?, half(&header, 18)?);
        ensure!(kind == (ET_CORE, EM_X86_64), "type and machine {kind:?} are not those of a dump");
        let (first, size, count) = (word(&header, 32)?, half(&header, 54)?, half(&header, 56)?);
        ensure!(usize::from(size) == PROGRAM_HEADER_BYTES, "program headers have {size} bytes");
        let mut segments = Vec::new();
        for index in 0..u64::from(count) {
            let at = first.checked_add(index * PROGRAM_HEADER_BYTES as u64).context("program headers")?;
            let mut header = [0; PROGRAM_HEADER_BYTES];
            source.read(at, &mut header).with_context(|| format!("program header {index}"))?;
            if u32::from_le_bytes(field(&header, 0)?) != PT_LOAD {
                continue;
            }
            let (offset, address, bytes) = (word(&header, 8)?, Address(word(&header, 16)?), word(&header, 32)?);
            // A dump that was cut short ends in the middle of a segment.
            let bytes = bytes.min(end.saturating_sub(offset));
            if address.0 != 0 && address.0.checked_add(bytes).is_some() {
                segments.push(Segment { address, offset, bytes });
            }
        }
        ensure!(!segments.is_empty(), "no memory in the dump");
        Ok(Memory { source, segments, pages: RefCell::default() })
    }

    /// Reads memory from `address` on.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn read(&self, address: Address, into: &mut [u8]) -> Result<()> {
        let within = |segment: &&Segment| {
            let rest = address.0.checked_sub(segment.address.0).and_then(|at| segment.bytes.checked_sub(at));
            rest.is_some_and(|rest| into.len() as u64 <= rest)
        };
        let segment = self.segments.iter().find(within);
        let segment = segment.with_context(|| format!("{:#x} is not in the dump", address.0))?;
        self.read_file(segment.offset + address.behind(segment.address), into)
            .with_context(|| format!("{:#x} cannot be read", address.0))
    }

    /// Reads the dump by pages, of which some are kept.
    fn read_file(&self, mut at: u64, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let (start, within) = (at / PAGE as u64 * PAGE as u64, (at % PAGE as u64) as usize);
            let mut pages = self.pages.borrow_mut();
            if !pages.contains_key(&start) {
                let left = self.source.bytes()?.saturating_sub(start);
                let mut page = vec![0; PAGE.min(usize::try_from(left)?)];
                self.source.read(start, &mut page)?;
                if pages.len() >= KEPT_PAGES {
                    pages.clear();
                }
                pages.insert(start, page.into_boxed_slice());
            }
            let found = pages.get(&start).and_then(|page| page.get(within..)).unwrap_or_default();
            let bytes = found.len().min(into.len());
            ensure!(bytes > 0, "the dump ends there");
            let (now, later) = into.split_at_mut(bytes);
            now.copy_from_slice(&found[..bytes]);
            (at, into) = (at + bytes as u64, later);
        }
        Ok(())
    }

    fn array<const N: usize>(&self, address: Address) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The 64-bit number at an address.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u64(&self, address: Address) -> Result<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    /// The 32-bit number at an address.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u32(&self, address: Address) -> Result<u32> {
        self.array(address).map(u32::from_le_bytes)
    }

    /// The flag at an address, a byte.
    ///
    /// # Errors
    /// As [`Memory::read`], or when the byte is neither 0 nor 1.
    pub fn flag(&self, address: Address) -> Result<bool> {
        match self.array(address)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => bail!("{other} at {:#x} is no flag", address.0),
        }
    }

    /// Calls `visit` for each place that begins with one of these marks, with the mark's index, until it has seen enough.
    ///
    /// # Errors
    /// When a piece of the dump cannot be read.
    pub fn search(&self, marks: &[Mark], mut visit: impl FnMut(usize, Address) -> ControlFlow<()>) -> Result<()> {
        let halves = |mark: &Mark| {
            let value = u128::from_le_bytes(*mark);
            (value as u64, (value >> 64) as u64)
        };
        let marks: Vec<(u64, u64)> = marks.iter().map(halves).collect();
        let mut piece = vec![0; PIECE + 8];
        for segment in self.segments.iter().filter(|segment| segment.address.0 < IMAGE_BASE) {
            for start in (0..segment.bytes).step_by(PIECE) {
                // One word more: a mark may begin with the last one of this piece.
                let bytes = (segment.bytes - start).min(piece.len() as u64) as usize;
                let at = segment.offset + start;
                self.source.read(at, &mut piece[..bytes]).with_context(|| format!("the dump at {at:#x}"))?;
                let words =
                    piece[..bytes].chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
                let mut before = None;
                for (index, word) in words.enumerate() {
                    for (number, mark) in marks.iter().enumerate() {
                        if word == mark.1 && before == Some(mark.0) {
                            let address = segment.address.plus(start + 8 * (index as u64 - 1));
                            if visit(number, address).is_break() {
                                return Ok(());
                            }
                        }
                    }
                    before = Some(word);
                }
            }
        }
        Ok(())
    }
}
