// SPDX-License-Identifier: GPL-2.0
//! The driver of the buses, pci-hyperv, goes while their devices are in use, and comes back.
//!
//! Nothing holds the module: to unload it is to unbind it from each bus, as sysfs does one by one. Devices go as if an
//! administrator had removed them: in order, and the host keeps its offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use super::many_buses::{inventory, Inventory};
use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::virtio::VIRTIO;
use crate::disk;
use crate::hotplug::{namespace, wait_until};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::modules;
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;

const DRIVER: &str = "/sys/bus/vmbus/drivers/hv_pci";
const MODULE: &str = "pci-hyperv";

/// How the driver goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It is unbound from one bus after the other.
    Unbound,
    /// Its module is unloaded.
    Unloaded,
}

/// The buses that the driver has, as VMBus names them.
fn bound() -> Result<Vec<String>> {
    let entries = fs::read_dir(DRIVER).context(DRIVER)?;
    let links = entries.filter_map(|entry| entry.ok()).filter(|entry| entry.path().is_symlink());
    let mut names: Vec<String> = links.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // The driver's directory also has a link to its module, which is no device.
    names.retain(|name| name != "module");
    names.sort();
    Ok(names)
}

fn file(name: &str) -> PathBuf {
    Path::new(DRIVER).join(name)
}

impl Leave {
    pub(super) fn leave(self, buses: &[String]) -> Result<()> {
        match self {
            Leave::Unbound => buses.iter().try_for_each(|bus| write_sysfs(&file("unbind"), bus)),
            Leave::Unloaded => modules::rmmod(MODULE),
        }
    }

    pub(super) fn come_back(self, buses: &[String]) -> Result<()> {
        match self {
            Leave::Unbound => buses.iter().try_for_each(|bus| write_sysfs(&file("bind"), bus)),
            Leave::Unloaded => modules::modprobe(MODULE),
        }
    }
}

/// The driver goes in the middle of a controller's I/O, which ends then.
fn leave_busy(context: &Context<'_>, leave: Leave, buses: &[String]) -> Result<()> {
    let controller = context.nvme()?.first().context("no NVMe controller")?.clone();
    let disk = namespace(&controller)?;
    let (rounds, said, stop) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let io = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                match disk::verify_rounds(&disk, 1) {
                    Ok(_) => rounds.fetch_add(1, Ordering::Relaxed),
                    // The controller is gone.
                    Err(_) if said.load(Ordering::Relaxed) => return Ok(()),
                    Err(error) => return Err(error),
                };
            }
            Ok(())
        });
        let running = wait_until("I/O runs", || Ok(rounds.load(Ordering::Relaxed) > 0 || io.is_finished()));
        said.store(true, Ordering::Relaxed);
        let left = running.and_then(|()| leave.leave(buses));
        stop.store(true, Ordering::Relaxed);
        let io = io.join().unwrap_or_else(|_| bail!("the I/O thread panicked"));
        left.and(io)
    })
}

/// No function and no group is left, and every device is blocked.
fn nothing_is_left(minihv: Minihv, names: &Inventory) -> Result<()> {
    wait_until("every function is gone", || Ok(pci::all()?.is_empty()))?;
    let groups = fs::read_dir("/sys/kernel/iommu_groups").context("groups")?.count();
    ensure!(groups == 0, "{groups} groups are left");
    for name in names.values() {
        let translation = minihv.device_translation(name.id)?;
        ensure!(translation == DeviceTranslation::Blocked, "{name:x?} is left, and its translation is {translation:?}");
    }
    Ok(())
}

/// The driver goes and comes back, `rounds` times.
fn goes(context: &mut Context<'_>, leave: Leave) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let names = inventory(context, minihv)?;
    let before = Census::take(minihv)?;
    let buses = bound()?;
    ensure!(buses.len() == names.len(), "the driver has {buses:?}, and there are {} buses", names.len());
    let rounds = context.options.rounds;
    for round in 1..=rounds {
        let what = || format!("round {round}, {leave:?}");
        leave_busy(context, leave, &buses).with_context(what)?;
        nothing_is_left(minihv, &names).with_context(what)?;
        leave.come_back(&buses).with_context(what)?;
        let now = inventory(context, minihv).with_context(what)?;
        ensure!(now == names, "{}: the names are {now:x?} instead of {names:x?}", what());
        context.functions = pci::all()?;
        for controller in context.nvme()? {
            disk::verify_rounds(&namespace(&controller)?, 1).with_context(what)?;
        }
    }
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("{leave:?} from {} busy buses and back, {rounds} times", buses.len())))
}

const BUS_DRIVER_UNBOUND: Check = Check::new("bus-driver-unbound", |c| goes(c, Leave::Unbound));
const BUS_DRIVER_UNLOADED: Check = Check::new("bus-driver-unloaded", |c| goes(c, Leave::Unloaded));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "bus-driver-unbound",
        summary: "pci-hyperv is unbound from buses whose devices are in use (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, BUS_DRIVER_UNBOUND, NVME_QUICK, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "bus-driver-unloaded",
        summary: "pci-hyperv, a module, is unloaded while devices are in use (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, BUS_DRIVER_UNLOADED, NVME_QUICK, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
];
