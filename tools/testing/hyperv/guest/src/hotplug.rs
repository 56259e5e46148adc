// SPDX-License-Identifier: GPL-2.0
//! Devices that the host withdraws and offers again.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use hvcore::ids::BusIndex;
use hvcore::vpci::Slot;

use crate::debugfs;
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::remark_wait;

/// How long the guest may take to let go of a device, or to find one. Nothing but a hang is that slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something; a long wait is reported.
///
/// # Errors
/// When it does not happen, or asking fails.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > PATIENCE {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    remark_wait(start, what);
    Ok(())
}

/// The functions that sit on a bus now.
///
/// # Errors
/// When sysfs is not there.
pub fn functions(bus: BusIndex) -> Result<Vec<PciFunction>> {
    pci::on_bus(bus)
}

/// Waits until the guest has let go of every function of a bus.
///
/// # Errors
/// When it does not.
pub fn wait_until_empty(bus: BusIndex) -> Result<()> {
    wait_until(&format!("bus {} is empty", bus.0), || Ok(functions(bus)?.is_empty()))
}

/// Whether the driver still has one of these devices. It releases a device after the device has left sysfs. Where it says
/// nothing about devices it has none.
fn is_listed(addresses: &[String]) -> bool {
    let lines = debugfs::domains().unwrap_or_default();
    lines.iter().any(|line| line.devices.keys().any(|name| addresses.contains(name)))
}

/// The host withdraws the function's bus; returns when the guest has let go of it.
///
/// # Errors
/// When it does not go.
pub fn withdraw(minihv: Minihv, function: &PciFunction) -> Result<BusIndex> {
    let bus = function.bus().context("the function does not sit on a VMBus device")?;
    let leaving: Vec<String> = functions(bus)?.into_iter().map(|function| function.address).collect();
    minihv.rescind(bus)?;
    wait_until_empty(bus)?;
    wait_until(&format!("the driver has released bus {}", bus.0), || Ok(!is_listed(&leaving)))?;
    Ok(bus)
}

/// The host asks for a function back; returns when the guest has said that it has let go of it. Its bus stays.
///
/// # Errors
/// When it does not go.
pub fn eject(minihv: Minihv, function: &PciFunction) -> Result<BusIndex> {
    let bus = function.bus().context("the function does not sit on a VMBus device")?;
    let id = function.logical_id().context("the function has no logical id")?;
    // The function number is the low part of the id; the device number is always 0.
    let slot = Slot::new(0, (id.0 & 7) as u8).context("slot")?;
    minihv.eject(bus, slot)?;
    let is_there = || -> Result<bool> { Ok(functions(bus)?.iter().any(|f| f.address == function.address)) };
    wait_until(&format!("{} goes", function.address), || Ok(!is_there()?))?;
    wait_until("the ejection is complete", || Ok(minihv.device_domain(id)?.is_none()))?;
    Ok(bus)
}

/// The host offers a bus again, whatever the guest makes of it.
///
/// # Errors
/// When it cannot be offered.
pub fn send_offer(minihv: Minihv, bus: BusIndex) -> Result<()> {
    // The guest's last message about the old channel may still be under way.
    wait_until(&format!("bus {} can be offered", bus.0), || Ok(minihv.offer(bus).is_ok()))
}

/// The host offers a bus again; returns when `count` functions are there and the IOMMU core is done with them, whatever
/// drivers make of them.
///
/// # Errors
/// When they do not come.
pub fn offer(minihv: Minihv, bus: BusIndex, count: usize) -> Result<Vec<PciFunction>> {
    send_offer(minihv, bus)?;
    await_functions(bus, count)
}

/// Returns when `count` functions are on a bus and the IOMMU core is done with them, whatever drivers make of them.
///
/// # Errors
/// When they do not come.
pub fn await_functions(bus: BusIndex, count: usize) -> Result<Vec<PciFunction>> {
    let mut there = Vec::new();
    wait_until(&format!("{count} functions on bus {}", bus.0), || {
        there = functions(bus)?;
        Ok(there.len() == count && there.iter().all(PciFunction::is_added))
    })?;
    Ok(there)
}

/// Gives a function that has just appeared to a driver. sysfs shows it a moment before drivers may have it.
///
/// # Errors
/// When the driver does not take it.
pub fn bind(function: &PciFunction, driver: &str) -> Result<()> {
    let mut last = Ok(());
    wait_until("a driver takes the function", || {
        last = function.bind(driver);
        Ok(last.is_ok())
    })
    .or(last)
}

/// Where the first namespace of an NVMe controller is, once it is there.
///
/// # Errors
/// When it does not appear.
pub fn namespace(controller: &PciFunction) -> Result<PathBuf> {
    // The file is there a moment before it can be opened.
    let ready = || controller.nvme_namespace().is_ok_and(|path| File::open(path).is_ok());
    wait_until(&format!("{} has a namespace", controller.address), || Ok(ready()))?;
    controller.nvme_namespace()
}
