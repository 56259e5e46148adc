// SPDX-License-Identifier: GPL-2.0
//! A device that the host cannot be asked about when it appears.

use anyhow::{bail, Context as _, Result};
use hvcore::control::Counter;
use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;

use crate::control::{DeviceTranslation, Injection};
use crate::hotplug;
use crate::pci;
use crate::report::Outcome;
use crate::scenario::Context;

/// How often the host is asked about a device before that is given up.
const QUESTIONS: u64 = 4;

/// edu goes, and comes back while its property cannot be had: it is there, blocked, and in no group.
pub fn unknown_device(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let bus = hotplug::withdraw(minihv, &pci::find(pci::EDU)?)?;
    let call = CallCode::GET_LOGICAL_DEVICE_PROPERTY.0;
    let calls = || minihv.counter(Counter::Calls, call.into());
    let before = calls()?;
    minihv.inject(Injection { call, status: Status::OPERATION_FAILED.0, first: 1, times: None })?;
    let back = hotplug::offer(minihv, bus, 1)?;
    let function = back.first().context("edu")?;
    let id = function.logical_id().context("edu has no logical id")?;
    // The device is in sysfs before the IOMMU core is done with it.
    hotplug::wait_until("edu is blocked", || Ok(minihv.device_translation(id)? == DeviceTranslation::Blocked))?;
    minihv.clear_injections()?;
    let asked = calls()? - before;
    if asked != QUESTIONS {
        bail!("the host was asked {asked} times about the device, {QUESTIONS} expected");
    }
    if let Some(group) = function.group() {
        bail!("{} is in group {group}", function.address);
    }
    Ok(Outcome::Pass(format!("{} is blocked and in no group", function.address)))
}
