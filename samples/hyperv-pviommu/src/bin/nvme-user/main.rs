// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Drives an NVMe controller from user space: identifies it, writes and reads blocks.

mod controller;
mod queue;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, Context, Result};
use clap::{Parser, Subcommand};
use controller::{Controller, Namespace};
use user_dma::Failure;

/// Drives an NVMe controller, which must be bound to vfio-pci, by one pair of I/O queues.
#[derive(Parser)]
#[command(version, after_help = Failure::HELP)]
struct Arguments {
    /// PCI address of the controller: dddd:bb:dd.f
    device: String,
    /// Namespace
    #[arg(long, default_value_t = 1)]
    namespace: u32,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Subcommand)]
enum Action {
    /// Show the controller and the namespace
    Identify,
    /// Write blocks, read them back and compare; what was there is lost
    Test {
        /// First block
        #[arg(long, default_value_t = 0)]
        lba: u64,
        /// Number of blocks
        #[arg(long, default_value_t = 2048)]
        blocks: u64,
    },
    /// Write a file's content, a whole number of blocks
    Write {
        /// First block
        #[arg(long)]
        lba: u64,
        /// Where the data comes from
        file: PathBuf,
    },
    /// Read blocks into a file
    Read {
        /// First block
        #[arg(long)]
        lba: u64,
        /// Number of blocks
        #[arg(long)]
        blocks: u64,
        /// Where the data goes
        file: PathBuf,
    },
}

/// Data that depends on its place, so that a block in the wrong one is noticed.
fn pattern(lba: u64, bytes: usize, block_bytes: usize) -> Vec<u8> {
    let word = |at: usize| {
        let place = (lba * block_bytes as u64 + at as u64) / 8 + 1;
        place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[at % 8]
    };
    (0..bytes).map(word).collect()
}

fn size(namespace: &Namespace, blocks: u64) -> Result<usize> {
    let bytes = usize::try_from(blocks)?.checked_mul(namespace.block_bytes);
    bytes
        .filter(|bytes| *bytes > 0)
        .with_context(|| format!("{blocks} blocks"))
}

/// Does what was asked for, with a running controller.
fn act(controller: &mut Controller, arguments: &Arguments) -> Result<(), Failure> {
    let namespace = controller.namespace(arguments.namespace)?;
    match &arguments.action {
        Action::Identify => {
            let identity = controller.identity();
            println!(
                "model {}, serial number {}",
                identity.model, identity.serial
            );
            println!(
                "at most {} KiB in one command",
                identity.transfer_bytes >> 10
            );
            let Namespace {
                id,
                blocks,
                block_bytes,
            } = namespace;
            println!("namespace {id}: {blocks} blocks of {block_bytes} bytes");
        }
        Action::Test { lba, blocks } => {
            let bytes = size(&namespace, *blocks)?;
            let data = pattern(*lba, bytes, namespace.block_bytes);
            controller.write(&namespace, *lba, &data)?;
            let read = controller.read(&namespace, *lba, bytes)?;
            if let Some(at) = data.iter().zip(&read).position(|(a, b)| a != b) {
                let block = lba + (at / namespace.block_bytes) as u64;
                return Err(Failure::Wrong(anyhow!(
                    "block {block} is not what was written"
                )));
            }
            println!("{bytes} bytes from block {lba} on written, read and compared");
        }
        Action::Write { lba, file } => {
            let data = fs::read(file).with_context(|| file.display().to_string())?;
            controller.write(&namespace, *lba, &data)?;
            println!("{} bytes written from block {lba} on", data.len());
        }
        Action::Read { lba, blocks, file } => {
            let data = controller.read(&namespace, *lba, size(&namespace, *blocks)?)?;
            fs::write(file, &data).with_context(|| file.display().to_string())?;
            println!("{} bytes read from block {lba} on", data.len());
        }
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut controller = Controller::start(&arguments.device)?;
    let result = act(&mut controller, arguments);
    let end = controller.finish();
    result?;
    Ok(end?)
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
    }

    #[test]
    fn the_pattern_depends_on_the_place() {
        let data = pattern(3, 8192, 512);
        assert_eq!(data[512..1024], pattern(4, 512, 512));
        assert_ne!(data[..512], data[512..1024]);
    }
}
