// SPDX-License-Identifier: GPL-2.0
//! The type of a group's default domain, which the kernel has built in or was told, and which sysfs changes.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context as _, Result};

use crate::control::{DeviceTranslation, Minihv};
use crate::options::DomainMode;
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::scenario::Context;

/// Types in an order in which each follows both of the others, and what the kernel chooses by itself in between.
const TYPES: [DomainMode; 6] = [
    DomainMode::Identity,
    DomainMode::Strict,
    DomainMode::Deferred,
    DomainMode::Identity,
    DomainMode::Deferred,
    DomainMode::Strict,
];
/// What has the kernel choose.
const CHOOSE: &str = "auto";
/// VFIO's own container.
const TYPE1: &str = "/sys/module/vfio_iommu_type1";
const CONTAINER: &str = "/dev/vfio/vfio";

fn is(function: &PciFunction, minihv: Minihv, expected: DomainMode, when: &str) -> Result<()> {
    let file = function.file("iommu_group/type");
    let kind = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let word = expected.group_type().context("this mode has no groups")?;
    ensure!(kind.trim() == word, "{when}: the type is {:?} instead of {word:?}", kind.trim());
    let id = function.logical_id().context("edu has no logical id")?;
    let translation = minihv.device_translation(id)?;
    let bypass = translation == DeviceTranslation::Bypass;
    ensure!(
        bypass == (expected == DomainMode::Identity) && translation != DeviceTranslation::Blocked,
        "{when}: {word}, and the translation is {translation:?}"
    );
    Ok(())
}

/// The administrator changes the type of edu's group, which has no driver, and leaves the choice to the kernel again.
pub fn by_sysfs(context: &mut Context<'_>) -> Result<Outcome> {
    let (minihv, function, usual) = (context.minihv()?, pci::find(pci::EDU)?, context.options.mode);
    let file = function.file("iommu_group/type");
    is(&function, minihv, usual, "at first")?;
    for kind in TYPES {
        let word = kind.group_type().context("this mode has no groups")?;
        write_sysfs(&file, word)?;
        is(&function, minihv, kind, "set by sysfs")?;
    }
    write_sysfs(&file, CHOOSE)?;
    is(&function, minihv, usual, "chosen by the kernel again")?;
    Ok(Outcome::Pass(format!("{} changes, and {usual:?} by the kernel's choice", TYPES.len())))
}

/// There is a container, and it is not VFIO's own.
pub fn container_of_iommufd(_: &mut Context<'_>) -> Result<Outcome> {
    ensure!(!Path::new(TYPE1).exists(), "{TYPE1} exists: the container is VFIO's own");
    ensure!(Path::new(CONTAINER).exists(), "{CONTAINER} does not exist");
    Ok(Outcome::Pass(CONTAINER.to_owned()))
}
