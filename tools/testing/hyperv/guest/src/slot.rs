// SPDX-License-Identifier: GPL-2.0
//! Slots of PCI Express ports: what is in one goes when its power does.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::pci::PciFunction;

const CAPABILITIES: u64 = 0x34;
const PCI_EXPRESS: u8 = 0x10;
/// Capabilities of one function, at most.
const CAPABILITIES_MAX: usize = 48;
/// Slot Control, in the capability: power indicator off (9:8), power off (10).
const SLOT_CONTROL: u64 = 0x18;
const POWER_OFF: u16 = 0x0700;
/// How long the device may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Switches a function's slot off behind the kernel's back: as if somebody pulled the device.
///
/// # Errors
/// When the function is in no slot, or stays.
pub fn pull(function: &PciFunction) -> Result<()> {
    let port = function.parent_file("config").context("the function is on the root bus")?;
    let config = OpenOptions::new().read(true).write(true).open(&port).context("configuration space of the port")?;
    let byte = |at: u64| -> Result<u8> {
        let mut byte = [0];
        config.read_exact_at(&mut byte, at).with_context(|| format!("byte {at:#x} of the port"))?;
        Ok(byte[0])
    };
    let mut at = u64::from(byte(CAPABILITIES)?);
    for _ in 0..CAPABILITIES_MAX {
        if at == 0 || byte(at)? == PCI_EXPRESS {
            break;
        }
        at = byte(at + 1)?.into();
    }
    ensure!(at != 0, "{} is no PCI Express port", port.display());
    config.write_all_at(&POWER_OFF.to_le_bytes(), at + SLOT_CONTROL).context("Slot Control")?;
    let begun = Instant::now();
    while function.is_there()? {
        ensure!(begun.elapsed() < PATIENCE, "{} is still there", function.address);
    }
    Ok(())
}
