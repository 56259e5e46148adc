// SPDX-License-Identifier: GPL-2.0
//! A host that refuses a crash kernel a bus, because the crashed kernel's configuration window is still where the crash
//! kernel wants its own: in low MMIO space. The bus is left alone, and works when it is offered once more.

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::BusIndex;
use hvcore::inject::Occurrences;
use hvcore::test_interface::Counter;
use hvcore::vpci::{MessageKind, Refusal};
use linkme::distributed_slice;

use super::hotplug::{edu_works, is_managed};
use super::vpci_faults::WINDOW_IN_USE;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::kexec::{CRASH_KERNEL, CRASH_KERNEL_LOADED, IN_USE, OLD_TABLES};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::checks::virtio::VIRTIO;
use crate::hotplug::{functions, offer, wait_until};
use crate::pci;
use crate::report::Outcome;

/// edu's bus: edu is the second device of these guests.
const BUS: BusIndex = BusIndex(1);

/// From now on the host gives edu's bus no window in low MMIO space. The bus that is there stays.
fn refuse(context: &mut Context<'_>) -> Result<Outcome> {
    let bus = pci::find(pci::EDU)?.bus().context("edu sits on no VMBus device")?;
    ensure!(bus == BUS, "edu is on bus {}, not {}", bus.0, BUS.0);
    let (kind, occurrences) = (MessageKind::PowerOnLow, Occurrences::All);
    context.minihv()?.refuse(bus, Refusal { kind, status: WINDOW_IN_USE, occurrences })?;
    Ok(Outcome::Pass(String::new()))
}

const WINDOW_REFUSED: Check = Check::new("low-window-is-refused-from-now-on", refuse);

/// The host has refused edu's bus; the rest of the guest works.
fn is_without_bus(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let refused = || minihv.counter(Counter::RefusedMessages, 0);
    // pci-hyperv tries twice.
    wait_until("the host refuses a window in low MMIO space twice", || Ok(refused()? >= 2))?;
    let found = functions(BUS)?;
    ensure!(found.is_empty(), "the host refused the bus, and {} is there", found[0].address);
    Ok(Outcome::Pass(format!("refused {} times", refused()?)))
}

const WITHOUT_BUS: Check = Check::new("refused-bus-is-not-there", is_without_bus);

/// The host withdraws the bus, and offers it without a fault: edu is behind the IOMMU.
fn comes_later(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    minihv.clear_injections()?;
    minihv.rescind(BUS)?;
    let back = offer(minihv, BUS, 1)?;
    let function = back.first().context("no function")?;
    is_managed(context, function)?;
    edu_works(context, function)?;
    function.unbind()?;
    Ok(Outcome::Pass(function.address.clone()))
}

const COMES_LATER: Check = Check::new("refused-bus-works-later", comes_later);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "crash-window",
        summary: "crashes with all devices in use, on a host that refuses one bus to the next kernel",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, WINDOW_REFUSED, IN_USE, CRASH_KERNEL_LOADED],
    },
    Scenario {
        name: "crashed-window",
        summary: "the kernel after that: it is without that bus until the host offers it again",
        checks: &[
            CRASH_KERNEL,
            OLD_TABLES,
            DEVICES,
            GROUPS,
            WITHOUT_BUS,
            NVME_QUICK,
            VIRTIO,
            COMES_LATER,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
];
