// SPDX-License-Identifier: GPL-2.0
//! Drivers that come and go on a device, and some that do not want it.

use anyhow::{bail, Context as _, Result};
use linkme::distributed_slice;

use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::reset::{RESET_ATS, RESET_NVME};
use crate::checks::virtio::VIRTIO;
use crate::disk;
use crate::hotplug::namespace;
use crate::memory::DmaBuffer;
use crate::nvme_admin::{self, identify};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::at;

/// So often the kernel's driver does I/O before it has to let go.
const IO_EVERY: u64 = 10;

/// User space has the controller for one command.
fn visit(function: &PciFunction, back_end: BackEnd) -> Result<()> {
    let session = Session::open_by(function, back_end)?;
    let buffer = DmaBuffer::new(nvme_admin::PAGES)?;
    session.map(at(0), &buffer, 0, nvme_admin::PAGES)?;
    identify(&session, function, at(0), &buffer)
}

/// The NVMe controller changes hands between the kernel's driver, VFIO and nobody; what there is of domains is the same
/// in each of these hands every time.
fn loops(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let rounds = context.options.rounds;
    let nvme = context.nvme()?.pop().context("no NVMe controller")?;
    namespace(&nvme)?;
    let before = Census::take(minihv)?;
    for round in 0..rounds {
        let at_round = || format!("round {round}");
        visit(&nvme, BackEnd::ALL[round as usize % BackEnd::ALL.len()]).with_context(at_round)?;
        before.wait_for_return(minihv).context("with vfio-pci").with_context(at_round)?;
        nvme.unbind()?;
        before.wait_for_return(minihv).context("with no driver").with_context(at_round)?;
        nvme.bind("nvme")?;
        // With and without giving the driver time for its first commands.
        if round % IO_EVERY == 0 {
            disk::verify(&namespace(&nvme)?).with_context(at_round)?;
        }
    }
    nvme.unbind()?;
    nvme.bind("nvme")?;
    let compared = disk::verify(&namespace(&nvme)?)?;
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("{rounds} rounds, {} KiB compared at the end", compared >> 10)))
}

const BINDING_LOOPS: Check = Check::new("drivers-come-and-go", loops);

/// Drivers that refuse a device leave it as it was, for the next one.
fn failed_probe(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let edu = pci::find(pci::EDU)?;
    let nvme = context.nvme()?.pop().context("no NVMe controller")?;
    namespace(&nvme)?;
    let before = Census::take(minihv)?;
    let id = edu.logical_id().context("edu has no logical id")?;
    edu.unbind()?;
    let domain = minihv.device_domain(id)?;
    // The NVMe driver gets as far as mapping the registers.
    for (function, driver) in [(&edu, "nvme"), (&nvme, "virtio-pci"), (&edu, "virtio-pci")] {
        if function.bind(driver).is_ok() {
            bail!("{driver} took {}", function.address);
        }
        if let Some(bound) = function.driver() {
            bail!("{} has driver {bound} after the probe of {driver}", function.address);
        }
        before.wait_for_return(minihv).with_context(|| format!("after the probe of {driver}"))?;
    }
    if minihv.device_domain(id)? != domain {
        bail!("edu is in domain {:?} instead of {domain:?}", minihv.device_domain(id)?);
    }
    super::protection::mapped(context, BackEnd::Type1).context("edu by VFIO after failed probes")?;
    edu.unbind()?;
    nvme.bind("nvme")?;
    disk::verify(&namespace(&nvme)?).context("after a failed probe")?;
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass("nvme and virtio-pci refused edu, virtio-pci refused NVMe; both devices work".to_owned()))
}

const FAILED_PROBE: Check = Check::new("driver-refuses-device", failed_probe);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "hands",
    summary: "drivers come and go (hvtest.rounds= times) or refuse; functions are reset",
    checks: &[
        DEVICES,
        GROUPS,
        BINDING_LOOPS,
        FAILED_PROBE,
        RESET_NVME,
        RESET_ATS,
        NVME_QUICK,
        VIRTIO,
        NO_FAULTS,
        VIOLATIONS,
    ],
}];
