// SPDX-License-Identifier: GPL-2.0
//! Another type of default domain for a device of the root partition's, by the file `type` of its group.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::root::OWN_TABLE;
use crate::minihv::{DeviceTranslation, Injection};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

const GROUPS_DIRECTORY: &str = "/sys/kernel/iommu_groups";

fn type_file(function: &PciFunction) -> Result<PathBuf> {
    let group = function.group().with_context(|| format!("{} has no IOMMU group", function.address))?;
    Ok(Path::new(GROUPS_DIRECTORY).join(group.to_string()).join("type"))
}

/// The hypervisor refuses edu the other domain: edu stays where it was. What nobody refuses works, there and back.
fn other_type(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    let (file, id) = (type_file(&function)?, function.logical_id().context("edu has no id")?);
    let expect = |kind: &str, translation: DeviceTranslation, when: &str| -> Result<()> {
        let found = (fs::read_to_string(&file).context("type")?, minihv.device_translation(id)?);
        ensure!(found.0.trim() == kind && found.1 == translation, "{when}, edu is {found:?}");
        Ok(())
    };
    minihv.inject(Injection::next(CallCode::ATTACH_DEVICE_DOMAIN))?;
    let written = fs::write(&file, "identity");
    minihv.clear_injections()?;
    ensure!(written.is_err(), "the hypervisor has refused another domain, and the kernel has not noticed");
    expect("DMA", OWN_TABLE, "after a refusal")?;
    fs::write(&file, "identity").context("identity")?;
    expect("identity", DeviceTranslation::Bypass, "as identity")?;
    fs::write(&file, "DMA").context("DMA")?;
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
