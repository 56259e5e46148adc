// SPDX-License-Identifier: GPL-2.0
//! virtio functions, whose rings and buffers go through the IOMMU too.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

use crate::check::{Check, Context};
use crate::disk;
use crate::hotplug;
use crate::pci::{PciFunction, VIRTIO_VENDOR};
use crate::report::Outcome;

/// Device ids of the modern transport.
const NET: u16 = 0x1041;
const BLOCK: u16 = 0x1042;
const ENTROPY: u16 = 0x1044;

/// The kernel's name for the virtio device of a function; `None` before `virtio-pci` has made it.
fn virtio_child(function: &PciFunction) -> Option<String> {
    let is_device = |name: &str| name.strip_prefix("virtio").is_some_and(|number| number.parse::<u32>().is_ok());
    function.child("", is_device).ok()
}

/// The drivers that a device of this kind needs, as directories of sysfs.
fn drivers(device: u16) -> [Option<&'static str>; 2] {
    let driver = match device {
        BLOCK => Some("/sys/bus/virtio/drivers/virtio_blk"),
        ENTROPY => Some("/sys/bus/virtio/drivers/virtio_rng"),
        NET => Some("/sys/bus/virtio/drivers/virtio_net"),
        _ => None,
    };
    [Some("/sys/bus/pci/drivers/virtio-pci"), driver]
}

/// How far the kernel is with a function.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// Its virtio device of this name has its driver.
    Done(String),
    /// What has not happened yet.
    Waiting(String),
}

fn progress(function: &PciFunction) -> Progress {
    match virtio_child(function) {
        None => {
            let driver = function.driver().unwrap_or_else(|| "no driver".to_owned());
            Progress::Waiting(format!("{}: no virtio device appeared, the function has {driver}", function.address))
        }
        Some(child) if function.file(&child).join("driver").exists() => Progress::Done(child),
        Some(child) => Progress::Waiting(format!("{}: no driver took {child}", function.address)),
    }
}

/// The virtio device of a function, once its driver has it. Probes may be under way, of a function that was offered a
/// moment ago for one.
fn await_driver(function: &PciFunction) -> Result<String> {
    let mut last = progress(function);
    let waited = hotplug::wait_until(&format!("the virtio driver of {}", function.address), || {
        last = progress(function);
        Ok(matches!(last, Progress::Done(_)))
    });
    match last {
        Progress::Done(child) => Ok(child),
        Progress::Waiting(what) => waited.and_then(|()| bail!("not ready")).context(what),
    }
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
    let compared = disk::verify(&path)?;
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
    let functions: Vec<&PciFunction> = context.functions.iter().filter(|f| f.id.vendor == VIRTIO_VENDOR).collect();
    if let Some(count) = context.options.virtio.filter(|count| *count != functions.len()) {
        bail!("{} virtio functions instead of {count}", functions.len());
    }
    if functions.is_empty() {
        return Ok(Outcome::Skip("no virtio function in this guest".to_owned()));
    }
    let mut done = Vec::new();
    for function in functions {
        // Without the configuration option for it, the device cannot be tried at all.
        let missing = drivers(function.id.device).into_iter().flatten().find(|path| !Path::new(path).exists());
        if let Some(path) = missing {
            return Ok(Outcome::Skip(format!("{}: the kernel has no {path}", function.address)));
        }
        let child = await_driver(function)?;
        done.push(match function.id.device {
            BLOCK => block(function, &child)?,
            ENTROPY => entropy(function)?,
            NET => network(function, &child)?,
            other => bail!("{}: no check for virtio device {other:#x}", function.address),
        });
    }
    Ok(Outcome::Pass(done.join("; ")))
}

pub const VIRTIO: Check = Check::new("virtio-io", io);
