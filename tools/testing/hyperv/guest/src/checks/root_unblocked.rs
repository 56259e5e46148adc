// SPDX-License-Identifier: GPL-2.0
//! The hypervisor of a root partition blocks a device by neither of the calls for that: the device is kept off the bus.

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::minihv::Injection;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// A program takes its device out of its address space, which blocks it. The program goes on with the device afterwards, and
/// has to allow it the bus again.
fn off_the_bus(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page that is mapped")?;
    ensure!(witness.function.masters_bus()?, "edu does DMA without mastering the bus");
    for call in [CallCode::ATTACH_DEVICE_DOMAIN, CallCode::DETACH_DEVICE_DOMAIN] {
        minihv.inject(Injection::every(call))?;
    }
    // iommufd cannot be told of the failure.
    let _ = witness.iommufd()?.0.detach();
    minihv.clear_injections()?;
    ensure!(!witness.function.masters_bus()?, "edu is not blocked, and masters the bus");
    let (cdev, space) = witness.iommufd()?;
    cdev.attach(space.ioas).context("attaching again")?;
    witness.function.set_bus_master()?;
    witness.round_trip(at(0), 0, OTHER, "the page after the device was attached again")?;
    Ok(Outcome::Pass(String::new()))
}

const OFF_THE_BUS: Check = Check::new("root-unblocked-device-is-off-the-bus", off_the_bus);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-unblocked",
    summary: "a device (edu) that the hypervisor neither blocks nor detaches",
    checks: &[DEVICES, GROUPS, OFF_THE_BUS, NO_FAULTS, VIOLATIONS],
}];
