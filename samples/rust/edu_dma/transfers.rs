// SPDX-License-Identifier: GPL-2.0

//! What the driver maps for the device, and what it compares.
//!
//! The kernel crate has streaming mappings that the device reads ([`SGTable`]). The mapping owns
//! the memory, and the driver cannot look at it again. So there is no test of a device that writes
//! to a streaming mapping: nothing could be compared.

use crate::device::{
    Edu,
    Length, //
};
use kernel::{
    device::Bound,
    dma::{
        Coherent,
        CoherentBox,
        DataDirection,
        DmaAddress, //
    },
    io::Io,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    scatterlist::SGTable, //
};

/// The size of the streaming mapping in bytes. It takes more than one transfer.
const STREAMED: usize = 3 * PAGE_SIZE;

/// An address that is never mapped: the DMA API hands out no address in the first page of a
/// translating domain.
const UNMAPPED: DmaAddress = 0;

/// The bytes that the device is to find.
#[derive(Clone, Copy)]
enum Pattern {
    Coherent = 0x5a,
    Streaming = 0xc3,
}

impl Pattern {
    /// The byte at an offset. Neighbouring pages differ in every byte, and so do neighbouring
    /// blocks of 256 bytes.
    fn at(self, offset: usize) -> u8 {
        (self as usize)
            .wrapping_add(offset)
            .wrapping_add(offset / 256) as u8
    }
}

/// Coherent memory that the device writes to, and a copy of it.
struct Target {
    memory: Coherent<[u8]>,
    seen: KVec<u8>,
}

impl Target {
    fn new(dev: &pci::Device<Bound>) -> Result<Target> {
        let bytes = Length::BUFFER.bytes();
        Ok(Target {
            memory: Coherent::zeroed_slice(dev.as_ref(), bytes, GFP_KERNEL)?,
            seen: KVec::from_elem(0, bytes, GFP_KERNEL)?,
        })
    }

    /// The offset of the first byte that differs from `pattern`, which begins at `start`.
    fn first_difference(
        &mut self,
        pattern: Pattern,
        start: usize,
        length: Length,
    ) -> Option<usize> {
        self.memory.copy_to_slice(&mut self.seen);
        (0..length.bytes()).find(|&at| self.seen.get(at) != Some(&pattern.at(start + at)))
    }

    /// Makes the device write its buffer here, and compares that with `pattern`, which begins at
    /// `start`.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the bytes differ. Or the device's error.
    fn receive(
        &mut self,
        dev: &pci::Device<Bound>,
        edu: &Edu<'_>,
        pattern: Pattern,
        start: usize,
        length: Length,
    ) -> Result {
        // The memory must differ before, or the comparison would prove nothing.
        if self.first_difference(pattern, start, length) != Some(0) {
            dev_err!(dev, "there is nothing left for the device to change\n");
            return Err(EIO);
        }
        edu.store(self.memory.dma_address(), length)?;
        if let Some(at) = self.first_difference(pattern, start, length) {
            dev_err!(dev, "the device has read another byte at {}\n", start + at);
            return Err(EIO);
        }
        Ok(())
    }
}

/// Coherent memory: the device reads a page, and writes it to another page.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`]; [`EIO`] if the bytes differ; or the device's error.
pub(crate) fn coherent(dev: &pci::Device<Bound>, edu: &Edu<'_>) -> Result {
    let mut target = Target::new(dev)?;
    let mut source = CoherentBox::zeroed_slice(dev.as_ref(), Length::BUFFER.bytes(), GFP_KERNEL)?;
    for (offset, byte) in source.iter_mut().enumerate() {
        *byte = Pattern::Coherent.at(offset);
    }
    let source: Coherent<[u8]> = source.into();
    edu.load(source.dma_address(), Length::BUFFER)?;
    target.receive(dev, edu, Pattern::Coherent, 0, Length::BUFFER)?;
    dev_info!(
        dev,
        "{} bytes of coherent memory at {:#x}: read and written by the device, compared\n",
        source.len(),
        source.dma_address()
    );
    Ok(())
}

/// A streaming mapping: the device reads all of it, a page at a time.
///
/// Context: may sleep.
///
/// # Errors
///
/// As [`coherent`].
pub(crate) fn streaming(dev: &pci::Device<Bound>, edu: &Edu<'_>) -> Result {
    let mut target = Target::new(dev)?;
    let mut pages = VVec::with_capacity(STREAMED, GFP_KERNEL)?;
    for offset in 0..STREAMED {
        pages.push(Pattern::Streaming.at(offset), GFP_KERNEL)?;
    }
    let table = SGTable::new(dev.as_ref(), pages, DataDirection::ToDevice, GFP_KERNEL);
    let table = KBox::pin_init(table, GFP_KERNEL)?;
    let mut offset = 0;
    for entry in table.iter() {
        let end = offset + usize::try_from(entry.dma_len())?;
        let mut address = entry.dma_address();
        while offset < end {
            let length = Length::at_most(end - offset);
            edu.load(address, length)?;
            target.receive(dev, edu, Pattern::Streaming, offset, length)?;
            offset += length.bytes();
            address += length.bytes() as DmaAddress;
        }
    }
    if offset != STREAMED {
        dev_err!(dev, "{offset} bytes are mapped instead of {STREAMED}\n");
        return Err(EIO);
    }
    dev_info!(
        dev,
        "{offset} bytes of a streaming mapping: read by the device, compared\n"
    );
    Ok(())
}

/// Makes the device read a few bytes where nothing is mapped. The IOMMU reports what it refuses;
/// the device's driver does not learn of it.
///
/// Context: may sleep.
///
/// # Errors
///
/// The device's error.
pub(crate) fn unmapped(dev: &pci::Device<Bound>, edu: &Edu<'_>) -> Result {
    dev_info!(
        dev,
        "the device reads address {UNMAPPED:#x}, which is not mapped, on purpose\n"
    );
    edu.load(UNMAPPED, Length::at_most(4))
}
