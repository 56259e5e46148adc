// SPDX-License-Identifier: GPL-2.0
//! The root partition's devices where buses get in the way: two devices behind a bridge, which have one requester id, a
//! function level reset, and devices that go: one of the two, and one that somebody pulls.

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED};
use crate::checks::reset::RESET_NVME;
use crate::checks::root::{CLEAN, RECORDS, SHARED_GROUP, TRANSLATION};
use crate::disk;
use crate::minihv::DeviceTranslation;
use crate::pci;
use crate::report::Outcome;
use crate::root_debugfs;
use crate::slot;

/// The bridge's id is that of all devices behind it; the driver counts them, and knows no other ids of theirs.
fn bridge_id(context: &mut Context<'_>) -> Result<Outcome> {
    let behind: Vec<_> = context.functions.iter().filter(|function| function.is_behind_bridge()).collect();
    let id = behind.first().and_then(|function| function.logical_id()).context("nothing is behind a bridge")?;
    ensure!(behind.iter().all(|function| function.logical_id() == Some(id)), "they are behind several bridges");
    let requesters = root_debugfs::requesters()?;
    let of_bus: Vec<_> = requesters.iter().filter(|line| line.id & 0xff00 == id.0).collect();
    let [line] = of_bus[..] else { bail!("requesters of the bus: {of_bus:?}") };
    ensure!(line.id & 0xffff == id.0 && line.users as usize == behind.len(), "{} devices, {line:?}", behind.len());
    Ok(Outcome::Pass(format!("{} devices are {:#x}", behind.len(), line.id)))
}

const BRIDGE_ID: Check = Check::new("root-bridge-is-the-requester", bridge_id);

/// One of two devices with one id goes; the id's translation stays, for the other one, whose DMA is tried afterwards.
fn one_goes(context: &mut Context<'_>) -> Result<Outcome> {
    let behind: Vec<_> = context.functions.iter().filter(|function| function.is_behind_bridge()).collect();
    let [stays, goes] = behind[..] else { bail!("{} devices are behind a bridge, not 2", behind.len()) };
    let id = stays.logical_id().context("nothing is behind a bridge")?;
    let minihv = context.minihv()?;
    let before = minihv.device_translation(id)?;
    goes.remove()?;
    ensure!(!goes.file("config").exists(), "{} is still there", goes.address);
    let after = minihv.device_translation(id)?;
    ensure!(after == before, "{} is gone, and {} has {after:?} instead of {before:?}", goes.address, stays.address);
    ensure!(after != DeviceTranslation::Blocked, "{} is blocked, with and without the other one", stays.address);
    let requesters = root_debugfs::requesters()?;
    let line = requesters.iter().find(|line| line.id & 0xffff == id.0).context("the driver does not know the id")?;
    ensure!(line.users == 1 && line.doubt == "-", "1 device is left: {line:?}");
    let stays = stays.address.clone();
    context.functions = pci::all()?;
    Ok(Outcome::Pass(format!("{stays} keeps {after:?}")))
}

const ONE_GOES: Check = Check::new("root-one-of-two-with-one-id-goes", one_goes);

/// The disk goes in the middle of I/O. The kernel's driver gives up, the IOMMU's forgets it, and nothing is left in doubt.
fn pulled(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let disk = context.nvme()?.pop().context("no NVMe controller")?;
    let id = disk.logical_id().context("the disk has no id")?;
    let before = root_debugfs::domains()?.len();
    let namespace = disk.nvme_namespace()?;
    let busy = std::thread::spawn(move || while disk::verify(&namespace).is_ok() {});
    slot::pull(&disk)?;
    disk.remove()?;
    busy.join().ok().context("the I/O did not end")?;
    ensure!(!disk.file("config").exists(), "{} is still there", disk.address);
    let translation = minihv.device_translation(id)?;
    ensure!(
        translation == DeviceTranslation::Blocked,
        "{} is gone, and its translation is {translation:?}",
        disk.address
    );
    let requesters = root_debugfs::requesters()?;
    let left = requesters.iter().find(|line| line.id & 0xffff == id.0);
    if let Some(line) = left {
        ensure!(line.users == 0 && line.place == "blocking" && line.doubt == "-", "{} is gone: {line:?}", disk.address);
    }
    let after = root_debugfs::domains()?;
    ensure!(after.len() + 1 == before, "{before} domains before, then {after:?}");
    context.functions = pci::all()?;
    Ok(Outcome::Pass(format!("{}; {} domains are left", disk.address, after.len())))
}

const PULLED: Check = Check::new("root-pulled-device-is-forgotten", pulled);

/// The scenarios. The disk is pulled last.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-bus",
    summary: "two edu behind a bridge, of which one goes; resets of a disk, and the disk is pulled",
    checks: &[
        DEVICES,
        GROUPS,
        TRANSLATION,
        BRIDGE_ID,
        SHARED_GROUP,
        NO_FAULTS,
        RESET_NVME,
        ONE_GOES,
        VFIO_MAPPED,
        VFIO_UNMAPPED,
        VFIO_STALE,
        PULLED,
        RECORDS,
        CLEAN,
        VIOLATIONS,
    ],
}];
