// SPDX-License-Identifier: GPL-2.0
//! A device that the host cannot be asked about when it appears.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::DEVICES;
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::RAW_BLOCKED;
use crate::checks::virtio::VIRTIO;
use crate::hotplug;
use crate::minihv::{DeviceTranslation, Injection};
use crate::pci;
use crate::report::Outcome;

/// How often the host is asked about a device before that is given up.
const QUESTIONS: u64 = 4;

/// edu goes, and comes back while its property cannot be had: it is there, blocked, and in no group.
fn unknown_device(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let bus = hotplug::withdraw(minihv, &pci::find(pci::EDU)?)?;
    let call = CallCode::GET_LOGICAL_DEVICE_PROPERTY;
    let calls = || minihv.calls(call);
    let before = calls()?;
    minihv.inject(Injection::every(call))?;
    let back = hotplug::offer(minihv, bus, 1)?;
    let function = back.first().context("edu")?;
    let id = function.logical_id().context("edu has no logical id")?;
    let translation = minihv.device_translation(id)?;
    minihv.clear_injections()?;
    if translation != DeviceTranslation::Blocked {
        bail!("{} is not blocked: {translation:?}", function.address);
    }
    let asked = calls()? - before;
    if asked != QUESTIONS {
        bail!("the host was asked {asked} times about the device, {QUESTIONS} expected");
    }
    if let Some(group) = function.group() {
        bail!("{} is in group {group}", function.address);
    }
    Ok(Outcome::Pass(format!("{} is blocked and in no group", function.address)))
}

pub const REFUSED: Check = Check::new("unknown-device-is-blocked", unknown_device);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "refused-device",
    summary: "one device (edu) that the driver could not take: it does no DMA, the others work",
    checks: &[DEVICES, REFUSED, NVME_QUICK, VIRTIO, NO_FAULTS, RAW_BLOCKED, VIOLATIONS],
}];
