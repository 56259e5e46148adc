// SPDX-License-Identifier: GPL-2.0
//! Which devices are there, and what the kernel's IOMMU core did with them.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

const DIRECTORY: &str = "/sys/kernel/iommu_groups";
/// What the IOMMUs of a guest and of a root partition are called.
const OURS_IN_SYSFS: [&str; 2] = ["hv_pviommu", "hv_root_iommu"];
/// What CONFIG_IOMMUFD_TEST calls its IOMMU.
const MOCK: &str = "iommufd_selftest_iommu";

fn entries(path: &Path) -> Vec<String> {
    // A directory that does not exist has no entries: that is what a kernel without IOMMU shows.
    let Ok(directory) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> = directory.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn describe(function: &PciFunction) -> String {
    let logical = function.logical_id().map_or_else(|| "none".to_owned(), |id| format!("{:#x}", id.0));
    let driver = function.driver().unwrap_or_else(|| "none".to_owned());
    let id = function.id;
    format!("{} {:04x}:{:04x} driver {driver}, logical id {logical}", function.address, id.vendor, id.device)
}

/// Lists the functions; under minihv each one must have a logical device id that minihv knows.
fn devices_present(context: &mut Context<'_>) -> Result<Outcome> {
    for function in &context.functions {
        context.reporter.note(&format!("device {}", describe(function)));
        let Some(minihv) = context.minihv else { continue };
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        minihv.device_translation(id).with_context(|| function.address.clone())?;
    }
    if context.functions.len() < context.options.devices {
        bail!("{} PCI functions instead of {}", context.functions.len(), context.options.devices);
    }
    Ok(Outcome::Pass(format!("{} functions", context.functions.len())))
}

pub const DEVICES: Check = Check::new("devices-present", devices_present);

/// The partition has no vPCI device that the kernel takes.
fn no_devices(context: &mut Context<'_>) -> Result<Outcome> {
    match context.functions.as_slice() {
        [] => Ok(Outcome::Pass(String::new())),
        [function, ..] => bail!("there is {}", describe(function)),
    }
}

const NO_DEVICES: Check = Check::new("no-vpci-devices", no_devices);

/// edu's domain is of the type that was asked for.
fn edu_type(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    let path = function.file("iommu_group/type");
    let kind = fs::read_to_string(&path).ok();
    let (kind, expected) = (kind.as_deref().map(str::trim), context.options.mode.group_type());
    if kind != expected {
        bail!("{}: domain type {kind:?} instead of {expected:?}", function.address);
    }
    Ok(Outcome::Pass(kind.unwrap_or("no group").to_owned()))
}

pub const EDU_TYPE: Check = Check::new("edu-domain-type", edu_type);

/// Compares groups and their domain types with the mode asked for.
fn group_types(context: &mut Context<'_>) -> Result<Outcome> {
    for name in entries(Path::new("/sys/class/iommu")) {
        context.reporter.note(&format!("iommu {name}"));
    }
    let Some(expected) = context.options.mode.group_type() else {
        let groups = entries(Path::new(DIRECTORY));
        let mut iommus = entries(Path::new("/sys/class/iommu"));
        // The core's own tests bring one, which no device is behind.
        iommus.retain(|name| !name.starts_with(MOCK));
        if !groups.is_empty() || !iommus.is_empty() {
            bail!("there are IOMMUs {iommus:?} and groups {groups:?}, expected none");
        }
        return Ok(Outcome::Pass("no groups".to_owned()));
    };
    let has_ours = OURS_IN_SYSFS.iter().any(|name| Path::new("/sys/class/iommu").join(name).exists());
    if context.minihv.is_some() && !has_ours {
        bail!("none of {OURS_IN_SYSFS:?} is in /sys/class/iommu");
    }
    for function in &context.functions {
        let group = function.group().with_context(|| format!("{} has no IOMMU group", function.address))?;
        let path = Path::new(DIRECTORY).join(group.to_string()).join("type");
        let kind = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        context.reporter.note(&format!("group {group}: {} {}", function.address, kind.trim()));
        if kind.trim() != expected {
            bail!("{}: domain type {:?} instead of {expected:?}", function.address, kind.trim());
        }
    }
    Ok(Outcome::Pass(format!("{} functions, all {expected}", context.functions.len())))
}

pub const GROUPS: Check = Check::new("iommu-groups", group_types);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario { name: "boot", summary: "nothing but booting and the devices", checks: &[DEVICES] },
    Scenario { name: "kunit", summary: "nothing: the kernel's own tests ran while it booted", checks: &[] },
    Scenario {
        name: "no-devices",
        summary: "a partition that has no vPCI devices: it boots, and there is no IOMMU",
        checks: &[NO_DEVICES, GROUPS],
    },
];
