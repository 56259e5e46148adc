// SPDX-License-Identifier: GPL-2.0
//! The type of a group's default domain, which the kernel has built in or was told, and which sysfs changes.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::cdev::{TYPE1_LIMITS, TYPE1_UNSAFE};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::large::TYPE1_LARGE;
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_NEIGHBOUR, VFIO_REMAP, VFIO_STALE, VFIO_UNMAPPED, VFIO_WALK};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use hvprotocol::options::DomainMode;

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

fn is(function: &PciFunction, minihv: Option<Minihv>, expected: DomainMode, when: &str) -> Result<()> {
    let file = function.file("iommu_group/type");
    let kind = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let word = expected.group_type().context("this mode has no groups")?;
    ensure!(kind.trim() == word, "{when}: the type is {:?} instead of {word:?}", kind.trim());
    let Some(minihv) = minihv else { return Ok(()) };
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
fn by_sysfs(context: &mut Context<'_>) -> Result<Outcome> {
    let (minihv, function, usual) = (context.minihv, pci::find(pci::EDU)?, context.options.mode);
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

const TYPE_BY_SYSFS: Check = Check::new("type-changes-by-sysfs", by_sysfs);

/// There is a container, and it is not VFIO's own.
fn container_of_iommufd(_: &mut Context<'_>) -> Result<Outcome> {
    ensure!(!Path::new(TYPE1).exists(), "{TYPE1} exists: the container is VFIO's own");
    ensure!(Path::new(CONTAINER).exists(), "{CONTAINER} does not exist");
    Ok(Outcome::Pass(CONTAINER.to_owned()))
}

const CONTAINER_OF_IOMMUFD: Check = Check::new("container-is-iommufds", container_of_iommufd);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "default-type",
        summary: "the types of groups, by default and by sysfs, and that VFIO translates all the same",
        checks: &[DEVICES, GROUPS, TYPE_BY_SYSFS, NO_FAULTS, VFIO_MAPPED, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "container-of-iommufd",
        summary: "a kernel whose container is iommufd's: protection, limits and large pages by type 1",
        checks: &[
            CONTAINER_OF_IOMMUFD,
            DEVICES,
            GROUPS,
            NVME_QUICK,
            NO_FAULTS,
            TYPE1_UNSAFE,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            TYPE1_LIMITS,
            TYPE1_LARGE,
            VIOLATIONS,
        ],
    },
];
