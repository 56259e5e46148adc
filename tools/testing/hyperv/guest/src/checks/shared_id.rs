// SPDX-License-Identifier: GPL-2.0
//! Two buses by whose GUIDs their devices have one logical device id.

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use super::hotplug::{edu_works, is_managed, only};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::DEVICES;
use crate::checks::unmanaged::SHARED_ID;
use crate::hotplug::{offer, wait_until, withdraw};
use crate::kernel_log::KernelLog;
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

/// What the kernel says of the second one.
const TAKEN: &str = "IOMMU: another device has the id";

/// The two edu, the one on the first bus first.
fn pair(context: &Context<'_>) -> Result<[PciFunction; 2]> {
    let mut all: Vec<PciFunction> = context.functions.iter().filter(|f| f.id == pci::EDU).cloned().collect();
    all.sort_by_key(|function| function.bus().map(|bus| bus.0));
    let Ok([first, second]) = <[PciFunction; 2]>::try_from(all) else { bail!("there are not two edu") };
    let ids = [&first, &second].map(|function| function.logical_id());
    ensure!(ids[0].is_some() && ids[0] == ids[1], "the ids are {ids:x?}, not one");
    Ok([first, second])
}

/// The function's bus is offered, and the function used.
fn comes(context: &Context<'_>, minihv: Minihv, function: &PciFunction) -> Result<()> {
    let bus = function.bus().context("edu sits on no VMBus device")?;
    offer(minihv, bus, 1)?;
    let function = only(bus)?;
    is_managed(context, &function)?;
    edu_works(context, &function)?;
    function.unbind()
}

/// The function's bus is offered, and the function refused: its id is another one's.
fn is_refused(minihv: Minihv, function: &PciFunction) -> Result<()> {
    let mut log = KernelLog::follow()?;
    let bus = function.bus().context("edu sits on no VMBus device")?;
    offer(minihv, bus, 1)?;
    wait_until("the kernel refuses a function", || Ok(log.take()?.iter().any(|line| line.contains(TAKEN))))?;
    let function = only(bus)?;
    ensure!(function.group().is_none(), "{} has another function's id, and is in a group", function.address);
    ensure!(!function.masters_bus()?, "{} has another function's id, and masters the bus", function.address);
    Ok(())
}

/// A device that was refused because its id was taken works once the other one is gone.
fn follows(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let [first, second] = pair(context)?;
    // The kernel uses either; the one that it does not use must not become the id's device when the other one goes.
    let (idle, used) = if first.group().is_none() { (&first, &second) } else { (&second, &first) };
    withdraw(minihv, idle)?;
    withdraw(minihv, used)?;
    comes(context, minihv, &first).context("the first one, alone")?;
    is_refused(minihv, &second)?;
    withdraw(minihv, &first)?;
    withdraw(minihv, &second)?;
    comes(context, minihv, &second).context("the second one, when the first one is gone")?;
    withdraw(minihv, &second)?;
    comes(context, minihv, &first).context("the first one, after the second one")?;
    is_refused(minihv, &second)?;
    Ok(Outcome::Pass(format!("{}, then {}", first.address, second.address)))
}

const SHARED_ID_FOLLOWS: Check = Check::new("other-device-is-used-when-the-first-is-gone", follows);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "shared-id",
    summary: "two devices with one id: one is used, the other is not until the first one is gone",
    checks: &[DEVICES, SHARED_ID, SHARED_ID_FOLLOWS, NO_FAULTS, VIOLATIONS],
}];
