// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Maps memory for a PCI device in pages of 4 KiB, 2 MiB and 1 GiB, lets the device read and write
//! it, takes it away again, and shows that the device then reaches it no more.

mod edu;

use std::process::ExitCode;

use anyhow::{anyhow, Result};
use clap::{Parser, ValueEnum};
use edu::{Edu, BUFFER_BYTES};
use user_dma::{Device, Failure, Iova, Memory, PageSize, Space};

/// Shows DMA and its limits with QEMU's `edu` device, which must be bound to vfio-pci.
///
/// For every page size: the device reads and writes memory that is mapped for it, and what arrives is
/// compared; then the memory is unmapped, and the same transfers must change and tell nothing.
#[derive(Parser)]
#[command(version, after_help = Failure::HELP)]
struct Arguments {
    /// PCI address of the device: dddd:bb:dd.f
    device: String,
    /// Page sizes to try
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["4k", "2m", "1g"])]
    pages: Vec<Pages>,
    /// Where memory is mapped in the I/O address space; a multiple of 1 GiB
    #[arg(long, value_name = "IOVA", default_value = "0x4000000000", value_parser = parse_iova)]
    iova: Iova,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pages {
    #[value(name = "4k")]
    Small,
    #[value(name = "2m")]
    TwoMiB,
    #[value(name = "1g")]
    OneGiB,
}

impl Pages {
    fn size(self) -> PageSize {
        match self {
            Pages::Small => PageSize::Small,
            Pages::TwoMiB => PageSize::TwoMiB,
            Pages::OneGiB => PageSize::OneGiB,
        }
    }
}

fn parse_iova(text: &str) -> Result<Iova, String> {
    let digits = text
        .strip_prefix("0x")
        .ok_or("a hexadecimal number, 0x...")?;
    let address = u64::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
    let step = PageSize::OneGiB.bytes() as u64;
    // Room for a huge page and for the window behind it.
    match address % step == 0 && address.checked_add(2 * step).is_some() {
        true => Ok(Iova(address)),
        false => Err("no multiple of 1 GiB".to_owned()),
    }
}

/// What stands in memory, and in the device's buffer. All differ, so that it is known who wrote last.
#[derive(Clone, Copy)]
enum Content {
    /// What the device is to carry.
    Cargo(usize),
    /// What the device must not overwrite.
    Canary,
    /// What the device must not read.
    Secret,
    /// What else the device may hold.
    Harmless,
}

impl Content {
    fn bytes(self) -> Vec<u8> {
        match self {
            // Depends on the place, so that data in the wrong one is noticed.
            Content::Cargo(place) => {
                let byte = |i: usize| ((i ^ (place >> 12)).wrapping_mul(0x9e37_79b1) >> 7) as u8;
                (0..BUFFER_BYTES).map(byte).collect()
            }
            Content::Canary => vec![0x11; BUFFER_BYTES],
            Content::Secret => vec![0xa5; BUFFER_BYTES],
            Content::Harmless => vec![0x2b; BUFFER_BYTES],
        }
    }
}

/// The device with a page that stays mapped, through which its buffer is filled and looked at.
struct Bench {
    space: Space,
    edu: Edu,
    window: Memory,
    window_iova: Iova,
    // Open as long as this value lives.
    _device: Device,
}

impl Bench {
    fn open(arguments: &Arguments) -> Result<Bench> {
        let space = Space::new()?;
        let device = Device::open(&arguments.device, &space)?;
        println!(
            "{}: attached to I/O address space {}",
            arguments.device,
            space.id()
        );
        for (first, last) in space.ranges()? {
            println!("usable addresses: {first} to {last}");
        }
        let edu = Edu::new(device.map_bar0()?)?;
        let window = Memory::allocate(PageSize::Small, 1)?;
        let window_iova = arguments.iova + PageSize::OneGiB.bytes() as u64;
        space.map(window_iova, &window)?;
        Ok(Bench {
            space,
            edu,
            window,
            window_iova,
            _device: device,
        })
    }

    /// Fills the device's buffer.
    fn load_device(&self, content: Content) -> Result<()> {
        self.window.write(0, &content.bytes());
        self.edu.read_memory(self.window_iova)
    }

    /// What the device's buffer holds.
    fn device_buffer(&self) -> Result<Vec<u8>> {
        self.window.fill(0, BUFFER_BYTES, 0);
        self.edu.write_memory(self.window_iova)?;
        Ok(self.window.read(0, BUFFER_BYTES))
    }

    /// The device reads mapped memory at `offset`, and writes it.
    fn allowed(&self, iova: Iova, memory: &Memory, offset: usize) -> Result<(), Failure> {
        let target = iova + offset as u64;
        let cargo = Content::Cargo(offset).bytes();
        self.load_device(Content::Harmless)?;
        memory.write(offset, &cargo);
        self.edu.read_memory(target)?;
        if self.device_buffer()? != cargo {
            return Err(Failure::Wrong(anyhow!(
                "the device read something else at {target}"
            )));
        }
        memory.fill(offset, BUFFER_BYTES, 0);
        self.edu.write_memory(target)?;
        if memory.read(offset, BUFFER_BYTES) != cargo {
            return Err(Failure::Wrong(anyhow!(
                "the device wrote something else at {target}"
            )));
        }
        Ok(())
    }

    /// The same transfers without the mapping: memory keeps its content, and does not tell it.
    fn forbidden(&self, iova: Iova, memory: &Memory, offset: usize) -> Result<(), Failure> {
        let target = iova + offset as u64;
        self.load_device(Content::Harmless)?;
        memory.write(offset, &Content::Canary.bytes());
        self.edu.write_memory(target)?;
        if memory.read(offset, BUFFER_BYTES) != Content::Canary.bytes() {
            let what = anyhow!("the device wrote memory at {target}, which is not mapped");
            return Err(Failure::Wrong(what));
        }
        memory.write(offset, &Content::Secret.bytes());
        self.edu.read_memory(target)?;
        if self.device_buffer()? == Content::Secret.bytes() {
            let what = anyhow!("the device read memory at {target}, which is not mapped");
            return Err(Failure::Wrong(what));
        }
        Ok(())
    }

    /// All of it with one page of `size`: its first, middle and last 4 KiB.
    fn try_page(&self, size: PageSize, iova: Iova, memory: &Memory) -> Result<(), Failure> {
        let last = memory.bytes() - BUFFER_BYTES;
        let mut offsets = vec![0, memory.bytes() / 2 / BUFFER_BYTES * BUFFER_BYTES, last];
        offsets.dedup();
        self.space.map(iova, memory)?;
        for &offset in &offsets {
            self.allowed(iova, memory, offset)?;
        }
        println!("{size} at {iova}: mapped, the device reads and writes it");
        self.space.unmap(iova, memory)?;
        for &offset in &offsets {
            self.forbidden(iova, memory, offset)?;
        }
        println!("{size} at {iova}: unmapped, the device neither reads nor writes it");
        Ok(())
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bench = Bench::open(arguments)?;
    let mut left_out = Vec::new();
    for size in arguments.pages.iter().map(|pages| pages.size()) {
        match Memory::allocate(size, 1) {
            Ok(memory) => bench.try_page(size, arguments.iova, &memory)?,
            Err(error) => {
                println!("{size}: not tried: {error:#}");
                left_out.push(size.to_string());
            }
        }
    }
    if left_out.is_empty() {
        println!("all is well");
        return Ok(());
    }
    Err(Failure::Incomplete(format!(
        "there were no pages of {}",
        left_out.join(", ")
    )))
}

fn main() -> ExitCode {
    Failure::report(run(&Arguments::parse()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        assert_eq!(parse_iova("0x4000000000"), Ok(Iova(0x40_0000_0000)));
        assert!(parse_iova("0x4000001000").is_err());
        assert!(parse_iova("17").is_err());
    }

    #[test]
    fn contents_differ() {
        let all = [
            Content::Cargo(0),
            Content::Cargo(4096),
            Content::Canary,
            Content::Secret,
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a.bytes() != b.bytes()));
        }
    }
}
