// SPDX-License-Identifier: GPL-2.0
//! The guest wakes up on a host that neither takes its devices into their domains nor blocks them: their buses stay closed.
//! What becomes of such a bus when its driver is unbound, or when the host withdraws it.

use anyhow::{ensure, Context as _, Result};
use linkme::distributed_slice;
use nix::sys::mman::{mlockall, MlockAllFlags};

use super::bus_driver::Leave;
use super::hibernation::hibernate;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::{NVME_IOVA, NVME_QUICK};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::checks::virtio::VIRTIO;
use crate::hotplug;
use crate::minihv::DeviceTranslation;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

/// The driver lets go of the function's bus, and takes it again.
fn bind_again(function: &PciFunction) -> Result<()> {
    let bus = function.bus().context("the function does not sit on a VMBus device")?;
    let instance = [function.instance().context("no VMBus device")?.to_owned()];
    Leave::Unbound.leave(&instance)?;
    hotplug::wait_until_empty(bus)?;
    Leave::Unbound.come_back(&instance)?;
    hotplug::await_functions(bus, 1).map(|_| ())
}

/// Every bus stays closed. One is unbound and bound again, the others are withdrawn and offered again: all devices are back.
fn buses_come_back(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    // The disk that this program may be swapped to cannot be had meanwhile.
    mlockall(MlockAllFlags::all()).context("keeping this program in memory")?;
    hibernate()?;
    minihv.clear_injections()?;
    for function in &context.functions {
        let bus = function.bus().context("the function does not sit on a VMBus device")?;
        if function.id == pci::EDU {
            bind_again(function).context("edu's bus, bound again")?;
        } else {
            hotplug::withdraw(minihv, function)?;
            hotplug::offer(minihv, bus, 1)?;
        }
    }
    let back = pci::wait_for_devices(context.functions.len())?;
    for function in &back {
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        let translation = minihv.device_translation(id)?;
        ensure!(
            matches!(translation, DeviceTranslation::Stage1(_)) && function.group().is_some(),
            "{} is back, and is {translation:?}, in group {:?}",
            function.address,
            function.group()
        );
    }
    context.functions = back;
    Ok(Outcome::Pass(format!("{} buses", context.functions.len())))
}

const BUSES_COME_BACK: Check = Check::new("closed-buses-come-back", buses_come_back);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "hibernation-closed-buses",
    summary: "the machine that is switched on again has an IOMMU that does nothing with devices",
    checks: &[DEVICES, GROUPS, BUSES_COME_BACK, NVME_QUICK, NVME_IOVA, VIRTIO, VFIO_MAPPED, VFIO_STALE],
}];
