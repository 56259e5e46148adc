// SPDX-License-Identifier: GPL-2.0
//! virtio functions, whose rings and buffers go through the IOMMU too.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

use crate::blockio;
use crate::hotplug;
use crate::pci::{PciFunction, VIRTIO};
use crate::report::Outcome;
use crate::scenario::Context;

/// Device ids of the modern transport.
const NET: u16 = 0x1041;
const BLOCK: u16 = 0x1042;
const ENTROPY: u16 = 0x1044;

/// Something that a kernel needs a configuration option for is missing: then the device cannot be tried at all.
fn virtio_child(function: &PciFunction) -> Option<String> {
    let is_device = |name: &str| name.starts_with("virtio") && name[6..].parse::<u32>().is_ok();
    function.child("", is_device).ok().filter(|child| function.file(child).join("driver").exists())
}

/// The disk of a function whose driver has it.
fn disk(function: &PciFunction, child: &str) -> Result<PathBuf> {
    Ok(Path::new("/dev").join(function.child(&format!("{child}/block"), |_| true)?))
}

fn block(function: &PciFunction, child: &str) -> Result<String> {
    // The driver is there before the disk is, and the disk a moment before it can be opened.
    let what = format!("the disk of {}", function.address);
    hotplug::wait_until(&what, || Ok(disk(function, child).is_ok_and(|path| File::open(path).is_ok())))?;
    let path = disk(function, child)?;
    let compared = blockio::verify(&path)?;
    Ok(format!("{} {}: {} KiB compared", function.address, path.display(), compared >> 10))
}

fn entropy(function: &PciFunction) -> Result<String> {
    let mut bytes = [0; 64];
    File::open("/dev/hwrng").context("/dev/hwrng")?.read_exact(&mut bytes).context("/dev/hwrng")?;
    if bytes.iter().all(|b| *b == bytes[0]) {
        bail!("/dev/hwrng delivers a constant");
    }
    Ok(format!("{} /dev/hwrng: {} bytes", function.address, bytes.len()))
}

fn network(function: &PciFunction, child: &str) -> Result<String> {
    let interface = function.child(&format!("{child}/net"), |_| true)?;
    Ok(format!("{} {interface}", function.address))
}

/// Does I/O with every virtio function.
pub fn io(context: &mut Context<'_>) -> Result<Outcome> {
    let functions: Vec<&PciFunction> = context.functions.iter().filter(|f| f.id.vendor == VIRTIO).collect();
    if functions.is_empty() {
        return Ok(Outcome::Pass("none in this guest".to_owned()));
    }
    let mut done = Vec::new();
    for function in functions {
        let Some(child) = virtio_child(function) else {
            return Ok(Outcome::Skip(format!("{}: the kernel has no driver for it", function.address)));
        };
        done.push(match function.id.device {
            BLOCK => block(function, &child)?,
            ENTROPY => entropy(function)?,
            NET => network(function, &child)?,
            other => bail!("{}: no check for virtio device {other:#x}", function.address),
        });
    }
    Ok(Outcome::Pass(done.join("; ")))
}
