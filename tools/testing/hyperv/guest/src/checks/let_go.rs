// SPDX-License-Identifier: GPL-2.0
//! Devices that the kernel lets go of while the host has them, and devices that it could hardly block: what becomes of them
//! when the guest hibernates, or leaves for another kernel.

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use super::sleep::transition;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::kexec::{DEVICES_WERE_BLOCKED, SUCCESSOR_LOADED};
use crate::checks::nvme::{self, NVME_QUICK};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::checks::refusal::REFUSED;
use crate::iommufd::{Cdev, Iommufd};
use crate::minihv::{DeviceTranslation, Effect, Injection};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

/// A device is in the blocking domain, not merely in none.
fn expect_in_blocking_domain(context: &Context<'_>, function: &PciFunction, when: &str) -> Result<()> {
    let minihv = context.minihv()?;
    let id = function.logical_id().context("edu has no logical id")?;
    let (translation, domain) = (minihv.device_translation(id)?, minihv.device_domain(id)?);
    ensure!(
        translation == DeviceTranslation::Blocked && domain.is_some(),
        "{when}: {} is {translation:?}, in domain {domain:?}",
        function.address
    );
    Ok(())
}

/// Takes edu out of the kernel's hands. Its bus stays.
fn remove(function: &PciFunction) -> Result<()> {
    function.unbind()?;
    function.remove()
}

/// Somebody has removed edu. The guest hibernates all the same, and edu is blocked afterwards; it can be found again.
fn removed(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    remove(&function)?;
    expect_in_blocking_domain(context, &function, "removed")?;
    for level in ["platform", "core"] {
        transition(level, "disk")?;
        expect_in_blocking_domain(context, &function, level)?;
    }
    nvme::quick_io(context)?;
    pci::rescan()?;
    pci::wait_for_devices(context.functions.len())?;
    Ok(Outcome::Pass(function.address))
}

const REMOVED: Check = Check::new("hibernation-with-a-removed-device", removed);

/// edu is there, blocked, and in no group. The guest hibernates all the same, and its other devices work afterwards.
fn refused(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    for level in ["platform", "core"] {
        transition(level, "disk")?;
        expect_in_blocking_domain(context, &function, level)?;
        nvme::quick_io(context)?;
    }
    Ok(Outcome::Pass(function.address))
}

const REFUSED_SLEEPS: Check = Check::new("hibernation-with-a-refused-device", refused);

/// A program has edu, in no domain of its own, and the host takes no device into the blocking domain: edu is detached. What
/// blocks it once more, at shutdown, finds it detached.
fn detached(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    let id = function.logical_id().context("edu has no logical id")?;
    function.bind("vfio-pci")?;
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let iommufd = Iommufd::open()?;
    let cdev = Cdev::take(&function, &iommufd)?;
    let blocking = minihv.device_domain(id)?.context("edu is in no domain")?;
    drop(cdev);
    minihv.inject_effect(Injection::every(CallCode::ATTACH_DEVICE_DOMAIN), Effect::Answered, Some(blocking))?;
    let cdev = Cdev::take(&function, &iommufd).context("once more")?;
    let (translation, domain) = (minihv.device_translation(id)?, minihv.device_domain(id)?);
    ensure!(translation == DeviceTranslation::Blocked && domain.is_none(), "edu is {translation:?}, in {domain:?}");
    std::mem::forget((iommufd, cdev));
    Ok(Outcome::Pass(format!("domain {} takes nothing", blocking.0)))
}

const DETACHED: Check = Check::new("device-is-detached-to-the-end", detached);

/// Somebody removes edu while the host does nothing that blocks it. The kernel tries again before it leaves.
fn loose(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    let id = function.logical_id().context("edu has no logical id")?;
    minihv.inject(Injection::every(CallCode::ATTACH_DEVICE_DOMAIN))?;
    minihv.inject(Injection::every(CallCode::DETACH_DEVICE_DOMAIN))?;
    let result = remove(&function);
    minihv.clear_injections()?;
    result?;
    let translation = minihv.device_translation(id)?;
    ensure!(translation != DeviceTranslation::Blocked, "edu is blocked, though nothing blocked it");
    Ok(Outcome::Pass(format!("{} is {translation:?}", function.address)))
}

const LOOSE: Check = Check::new("removed-device-is-not-blocked", loose);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "hibernation-let-go",
        summary: "hibernation without an image, of a guest that has let go of a device",
        checks: &[DEVICES, GROUPS, REMOVED, VFIO_MAPPED, VFIO_STALE, REFUSED, REFUSED_SLEEPS, NVME_QUICK, VIOLATIONS],
    },
    Scenario {
        name: "kexec-detached",
        summary: "leaves for the next kernel with a device that was detached to block it",
        checks: &[DEVICES, GROUPS, DETACHED, VIOLATIONS, NO_FAULTS, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-loose",
        summary: "leaves for the next kernel with a device that could not be blocked when it was removed",
        checks: &[DEVICES, GROUPS, VIOLATIONS, LOOSE, NO_FAULTS, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-arrived-loose",
        summary: "the kernel after that: the device was blocked in the end",
        checks: &[DEVICES, GROUPS, DEVICES_WERE_BLOCKED, NVME_QUICK, NO_FAULTS, VFIO_MAPPED, VFIO_STALE],
    },
];
