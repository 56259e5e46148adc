// SPDX-License-Identifier: GPL-2.0
//! Suspension, which must not disturb the IOMMU, and hibernation where the kernel was told to refuse it.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;
use nix::errno::Errno;

use super::nvme;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::cpus::CPU_HOTPLUG;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::VFIO_STALE;
use crate::memory::PAGE;
use crate::pci::write_sysfs;
use crate::report::Outcome;
use crate::witness::{Witness, FROM_DEVICE};

pub(super) const STATE: &str = "/sys/power/state";
/// How far a transition goes before it turns back.
const TEST_LEVEL: &str = "/sys/power/pm_test";
const NO_TEST: &str = "none";
/// Who opens it for writing announces an image of a hibernated system.
const IMAGE: &str = "/dev/snapshot";

/// Where the mapping lies that must survive.
pub(super) const KEPT: Iova = Iova(0x20_c000_0000);
/// An address that is not mapped.
const NEVER: Iova = Iova(KEPT.0 + PAGE as u64);

/// Goes to sleep as far as `level` and comes back.
pub(super) fn transition(level: &str, state: &str) -> Result<()> {
    write_sysfs(Path::new(TEST_LEVEL), level)?;
    let result = std::fs::write(STATE, state).with_context(|| format!("{state} as far as {level}"));
    write_sysfs(Path::new(TEST_LEVEL), NO_TEST)?;
    result
}

/// Announces an image, and goes back on it.
fn announce_image() -> Result<()> {
    OpenOptions::new().write(true).open(IMAGE).map(drop).context(IMAGE)
}

/// The kernel does not want to.
fn expect_refusal(result: Result<()>, what: &str) -> Result<()> {
    let Err(error) = result else { bail!("{what} was not refused") };
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
        Some(errno) if errno == Errno::EOPNOTSUPP as i32 => Ok(()),
        _ => Err(error.context(format!("{what}: expected EOPNOTSUPP"))),
    }
}

/// With `hv_pviommu=nohibernate`, hibernation and the return from it are refused before anything is frozen, and the devices
/// go on working.
fn hibernation_refused(context: &mut Context<'_>) -> Result<Outcome> {
    // If it is not refused, it must not happen either.
    expect_refusal(transition("freezer", "disk"), "hibernation")?;
    expect_refusal(announce_image(), "an image of a hibernated system")?;
    nvme::quick_io(context)
}

const HIBERNATION_REFUSED: Check = Check::new("hibernation-refused", hibernation_refused);

/// Without the IOMMU nothing stands against hibernation: it goes on until the test stops it; nor against the return.
fn hibernation_allowed(context: &mut Context<'_>) -> Result<Outcome> {
    transition("freezer", "disk")?;
    announce_image()?;
    nvme::quick_io(context)
}

pub const HIBERNATION_ALLOWED: Check = Check::new("hibernation-allowed", hibernation_allowed);

/// What edu holds arrives where it was mapped, and not beside it.
pub(super) fn expect_kept(witness: &mut Witness, what: &str) -> Result<()> {
    witness.buffer.fill(0, 0);
    witness.edu.store(KEPT)?;
    witness.buffer.expect(0, FROM_DEVICE, &format!("the mapped page after {what}"))?;
    witness.blocked_write(NEVER, 1, &format!("a page that is not mapped, after {what}"))
}

/// Suspend-to-idle: attachments and mappings outlive it, and so does what is not mapped.
fn suspend(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open(context, 2)?;
    witness.session.map(KEPT, &witness.buffer, 0, 1)?;
    for level in ["devices", "platform"] {
        witness.arm(KEPT, 0, FROM_DEVICE)?;
        transition(level, "freeze")?;
        // The device's state is the guest's business: its driver here is this program.
        witness.session.enable_bus_master()?;
        expect_kept(&mut witness, level)?;
        nvme::quick_io(context)?;
    }
    Ok(Outcome::Pass("as far as devices and platform".to_owned()))
}

const SUSPEND: Check = Check::new("suspend-to-idle", suspend);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "sleep",
        summary: "suspension survived, processors go and come back",
        checks: &[DEVICES, GROUPS, SUSPEND, CPU_HOTPLUG, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "no-hibernation",
        summary: "the kernel was told not to hibernate: hibernation and the return from it are refused",
        checks: &[DEVICES, GROUPS, HIBERNATION_REFUSED, NO_FAULTS, VIOLATIONS],
    },
];
