// SPDX-License-Identifier: GPL-2.0
//! VFIO's no-IOMMU mode (`enable_unsafe_noiommu_mode`): what it offers programs for devices that are in no group.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

use crate::pci::PciFunction;
use crate::type1::{Container, Group, Kind, Space};

/// The name of the groups that VFIO makes itself.
const GROUP_NAME: &str = "vfio-noiommu";
/// What the names of their character devices, and of those of their devices, start with.
const PREFIX: &str = "noiommu-";
/// `TAINT_USER`: somebody has done what the kernel does not stand up for.
const TAINT_USER: u64 = 1 << 6;
const TAINTED: &str = "/proc/sys/kernel/tainted";

/// How VFIO offers a device that vfio-pci has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// In the group of an IOMMU.
    Protected,
    /// In a group that VFIO made, without an IOMMU.
    Unprotected,
}

/// The name of a group; `None` for one without.
fn group_name(number: u32) -> Result<Option<String>> {
    let path = format!("/sys/kernel/iommu_groups/{number}/name");
    match fs::read_to_string(&path) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(path),
    }
}

fn number_of_group(function: &PciFunction) -> Result<u32> {
    function.group().with_context(|| format!("{} is in no group", function.address))
}

/// The character device of the group that VFIO made for a function.
///
/// # Errors
/// When the function is in no group.
pub fn group_path(function: &PciFunction) -> Result<PathBuf> {
    Ok(Path::new("/dev/vfio").join(format!("{PREFIX}{}", number_of_group(function)?)))
}

/// How a function is offered that vfio-pci has: by its group's name, by the group's character device, and by its own.
///
/// # Errors
/// When they do not agree.
pub fn offer(function: &PciFunction) -> Result<Offer> {
    let name = group_name(number_of_group(function)?)?;
    let exist = [Group::path(function)?.exists(), group_path(function)?.exists()];
    let own = function.child("vfio-dev", |_| true)?;
    match (name.as_deref(), exist, own.starts_with(PREFIX)) {
        (None, [true, false], false) => Ok(Offer::Protected),
        (Some(GROUP_NAME), [false, true], true) => Ok(Offer::Unprotected),
        _ => bail!("{}: group named {name:?}, group's devices there: {exist:?}, own: {own}", function.address),
    }
}

/// Opens the container and the group that VFIO made for a function.
///
/// # Errors
/// The first step that fails; the kernel's errno is the root of the error.
pub fn open(function: &PciFunction) -> Result<Space> {
    let (container, group) = (Container::open()?, Group::open_at(&group_path(function)?)?);
    group.join(&container).context("set container")?;
    container.set_kind(Kind::NoIommu).context("set no-IOMMU")?;
    Ok(Space::from_parts(group, container))
}

/// Whether the kernel says that somebody has given up its protection.
///
/// # Errors
/// When it does not tell.
pub fn is_tainted() -> Result<bool> {
    let text = fs::read_to_string(TAINTED).context(TAINTED)?;
    let flags: u64 = text.trim().parse().with_context(|| format!("{TAINTED}: {text}"))?;
    Ok(flags & TAINT_USER != 0)
}
