// SPDX-License-Identifier: GPL-2.0
//! The root partition's devices: their groups, the types of their domains, the window for interrupts, what a device may do
//! with a page, and devices that come and go.

use std::fs;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::options::DomainMode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::leaks::KMEMLEAK;
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{CDEV_MAPPED, CDEV_STALE, RAW_BLOCKED, VFIO_MAPPED, VFIO_STALE};
use crate::checks::root::{CLEAN, OWN_TABLE, RECORDS, SHARED_GROUP};
use crate::checks::virtio::VIRTIO;
use crate::memory::Rights;
use crate::minihv::DeviceTranslation;
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;
use crate::root_debugfs;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// Types in an order in which each follows both of the others.
const TYPES: [DomainMode; 6] = [
    DomainMode::Identity,
    DomainMode::Strict,
    DomainMode::Deferred,
    DomainMode::Identity,
    DomainMode::Deferred,
    DomainMode::Strict,
];

/// The administrator changes the type of edu's group, which has no driver. After each change all devices of the group are
/// where the type says, the driver says so, and what the device reaches is what the type lets it reach.
fn type_changes(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let file = pci::find(pci::EDU)?.file("iommu_group/type");
    for mode in TYPES {
        let word = mode.group_type().context("this mode has no groups")?;
        write_sysfs(&file, word)?;
        let shown = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(shown.trim() == word, "the type is {shown:?}, not {word:?}");
        let (expected, reach) = match mode {
            DomainMode::Identity => (DeviceTranslation::Bypass, IDENTITY_EDU),
            _ => (OWN_TABLE, RAW_BLOCKED),
        };
        for edu in context.functions.iter().filter(|function| function.id == pci::EDU) {
            let found = minihv.device_translation(edu.logical_id().context("edu has no id")?)?;
            ensure!(found == expected, "{}: {word}, and its translation is {found:?}", edu.address);
        }
        (reach.run)(context).with_context(|| format!("{}, as {word}", reach.name))?;
        (RECORDS.run)(context).with_context(|| format!("{}, as {word}", RECORDS.name))?;
    }
    Ok(Outcome::Pass(format!("{} changes", TYPES.len())))
}

const TYPE_CHANGES: Check = Check::new("root-type-changes-by-sysfs", type_changes);

/// The interface demands that devices may read every page: one that was to be written only can be read, too.
fn write_only(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 2)?;
    witness.session.map_for(at(0), witness.buffer.range(0, 1), Rights::Write).context("mapping for writing")?;
    witness.session.map(at(1), &witness.buffer, 1, 1)?;
    witness.round_trip(at(1), 1, FROM_DEVICE, "a page that can be read and written")?;
    witness.edu.store(at(0))?;
    witness.buffer.expect(0, FROM_DEVICE, "a page that was mapped for writing, written")?;
    witness.arm(at(0), 0, OTHER).context("reading a page that was mapped for writing")?;
    witness.edu.store(at(1))?;
    witness.buffer.expect(1, OTHER, "what the device has read of a page that was mapped for writing")?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass("written, and read".to_owned()))
}

const TYPE1_WRITE_ONLY: Check = Check::new("root-vfio-write-only-is-read-write", |c| write_only(c, BackEnd::Type1));
const CDEV_WRITE_ONLY: Check = Check::new("root-cdev-write-only-is-read-write", |c| write_only(c, BackEnd::Iommufd));

/// The kernel takes a device out and finds it again: meanwhile the hypervisor has it blocked, and the driver has forgotten it.
fn comes_and_goes(context: &mut Context<'_>) -> Result<Outcome> {
    const ROUNDS: usize = 3;
    let minihv = context.minihv()?;
    for _ in 0..ROUNDS {
        let function = pci::find(pci::EDU)?;
        let id = function.logical_id().context("edu has no id")?;
        function.unbind()?;
        function.remove()?;
        let translation = minihv.device_translation(id)?;
        if translation != DeviceTranslation::Blocked {
            bail!("{} is gone, and its translation is {translation:?}", function.address);
        }
        let of_it = root_debugfs::requesters()?.into_iter().find(|line| line.id & 0xffff == id.0);
        if let Some(line) = of_it.filter(|line| line.users != 0 || line.place != "blocking") {
            bail!("{} is gone, and there is {line:?}", function.address);
        }
        pci::rescan()?;
        let again = pci::wait_for_devices(context.functions.len())?;
        let again = again.iter().find(|other| other.address == function.address).context("edu did not come back")?;
        let translation = minihv.device_translation(id)?;
        if translation != OWN_TABLE || again.group().is_none() {
            bail!("{} is back, and its translation is {translation:?}", again.address);
        }
    }
    Ok(Outcome::Pass(format!("{ROUNDS} times")))
}

const COMES_AND_GOES: Check = Check::new("root-device-comes-and-goes", comes_and_goes);

/// The window for interrupts is reserved, and programs may not map there.
fn window(context: &mut Context<'_>) -> Result<Outcome> {
    const WINDOW: &str = "0x00000000fee00000 0x00000000feefffff msi";
    let function = pci::find(pci::EDU)?;
    let path = function.file("iommu_group/reserved_regions");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    if !text.lines().any(|line| line == WINDOW) {
        bail!("{text:?} without {WINDOW:?}");
    }
    let witness = Witness::open(context, 1)?;
    let (first, last) = (Iova(0xfee0_0000), Iova(0xfeef_f000));
    for iova in [first, last] {
        if witness.session.map(iova, &witness.buffer, 0, 1).is_ok() {
            bail!("{:#x} could be mapped", iova.0);
        }
    }
    Ok(Outcome::Pass(WINDOW.to_owned()))
}

const WINDOW: Check = Check::new("root-interrupt-window-reserved", window);

/// The scenarios. The fault check comes before those that cause faults on purpose.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "root-devices",
        summary: "two edu in one group, its type, the window for interrupts, and a device that comes and goes",
        checks: &[
            DEVICES,
            GROUPS,
            SHARED_GROUP,
            NO_FAULTS,
            TYPE_CHANGES,
            WINDOW,
            COMES_AND_GOES,
            VFIO_MAPPED,
            VFIO_STALE,
            TYPE1_WRITE_ONLY,
            CDEV_WRITE_ONLY,
            RECORDS,
            CLEAN,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "root-leaks",
        summary: "disks, programs, and a device that comes and goes: no memory is lost",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_STALE,
            CDEV_MAPPED,
            CDEV_STALE,
            COMES_AND_GOES,
            KMEMLEAK,
            RECORDS,
            CLEAN,
            VIOLATIONS,
        ],
    },
];
