// SPDX-License-Identifier: GPL-2.0
//! Another type of default domain for a device of the root partition's, by the file `type` of its group.

use std::fs;

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::root::OWN_TABLE;
use crate::minihv::{DeviceTranslation, Injection};
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;

/// The hypervisor refuses edu the other domain: edu stays where it was. What nobody refuses works, there and back.
fn other_type(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    let (file, id) = (function.file("iommu_group/type"), function.logical_id().context("edu has no id")?);
    let expect = |kind: &str, translation: DeviceTranslation, when: &str| -> Result<()> {
        let found = (fs::read_to_string(&file).context("type")?, minihv.device_translation(id)?);
        ensure!(found.0.trim() == kind && found.1 == translation, "{when}, edu is {found:?}");
        Ok(())
    };
    minihv.inject(Injection::next(CallCode::ATTACH_DEVICE_DOMAIN))?;
    let written = write_sysfs(&file, "identity");
    minihv.clear_injections()?;
    ensure!(written.is_err(), "the hypervisor has refused another domain, and the kernel has not noticed");
    expect("DMA", OWN_TABLE, "after a refusal")?;
    write_sysfs(&file, "identity")?;
    expect("identity", DeviceTranslation::Bypass, "as identity")?;
    write_sysfs(&file, "DMA")?;
    expect("DMA", OWN_TABLE, "back again")?;
    Ok(Outcome::Pass(String::new()))
}

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-type",
    summary: "another type of default domain for a device (edu), refused at first",
    checks: &[DEVICES, GROUPS, Check::new("root-other-type", other_type), NO_FAULTS, VIOLATIONS],
}];
