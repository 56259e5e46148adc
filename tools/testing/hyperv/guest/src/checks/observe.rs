// SPDX-License-Identifier: GPL-2.0
//! What the driver shows of itself agrees with what minihv, sysfs and this program know.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{DomainId, Iova, LogicalDeviceId};
use hvcore::test_interface::Counter;

use crate::check::{Check, Context};
use crate::debugfs::{self, DomainLine};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::witness::Witness;

/// Bits of the host's report (include/hyperv/hv_pviommu.h).
const CAP_PRESENT: u64 = 1 << 0;
const CAP_S1: u64 = 1 << 2;
const CAP_ATS: u64 = 1 << 5;
/// Widest aperture of a table, in bits, by its depth.
const WIDEST: [(&str, u32); 2] = [("4", 47), ("5", 56)];

/// Where minihv has a function.
fn place(minihv: Minihv, function: &PciFunction) -> Result<(LogicalDeviceId, DomainId)> {
    let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
    let domain = minihv.device_domain(id)?.with_context(|| format!("{} is in no domain", function.address))?;
    Ok((id, domain))
}

/// The domain that a witness maps in.
///
/// # Errors
/// When there is none.
pub fn domain_of(minihv: Minihv, witness: &Witness) -> Result<DomainId> {
    Ok(place(minihv, &witness.function)?.1)
}

/// Each device that is there has one place, and no other device has any.
fn devices(context: &mut Context<'_>) -> Result<Outcome> {
    context.minihv()?;
    let mut shown: Vec<String> = debugfs::domains()?.into_iter().flat_map(|line| line.devices.into_keys()).collect();
    let mut present: Vec<String> = pci::all()?.into_iter().map(|function| function.address).collect();
    shown.sort();
    present.sort();
    ensure!(shown == present, "debugfs shows {shown:?}, there are {present:?}");
    Ok(Outcome::Pass(format!("{} devices", shown.len())))
}

pub const DEBUGFS_DEVICES: Check = Check::new("debugfs-has-each-device-once", devices);

/// The attributes of the IOMMU in sysfs are these, and anybody may read them.
fn sysfs_agrees(expected: &[(&str, &str)]) -> Result<()> {
    const DIRECTORY: &str = "/sys/class/iommu/hv_pviommu/hyperv";
    let mut names: Vec<String> = fs::read_dir(DIRECTORY)
        .context(DIRECTORY)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut known: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    ensure!(names == known, "{DIRECTORY} holds {names:?}, not {known:?}");
    for (name, value) in expected {
        let path = Path::new(DIRECTORY).join(name);
        let shown = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(shown == format!("{value}\n"), "{name} in sysfs is {shown:?}, {value:?} expected");
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        ensure!(mode == 0o444, "{name} has the mode {mode:o}");
    }
    Ok(())
}

/// The host's report makes sense, and what is used of it is what VFIO and the hypervisor see.
fn capabilities(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let shown = debugfs::capabilities()?;
    let text = |key: &str| shown.get(key).map(String::as_str).with_context(|| format!("no {key:?} in {shown:?}"));
    let hex = |key: &str| -> Result<u64> {
        let digits = text(key)?.strip_prefix("0x").with_context(|| format!("{key:?} has no prefix"))?;
        u64::from_str_radix(digits, 16).context("hexadecimal digits")
    };
    let flags = hex("reported flags")?;
    ensure!(flags & (CAP_PRESENT | CAP_S1) == CAP_PRESENT | CAP_S1, "flags {flags:#x} of an IOMMU that is in use");
    let ats = if flags & CAP_ATS == 0 { "not offered" } else { "offered" };
    ensure!(text("ats")? == ats, "flags {flags:#x}, but ats {}", text("ats")?);
    ensure!(hex("reported page sizes")? == hex("used page sizes")?, "not all page sizes are used: {shown:?}");

    let levels = text("used levels")?;
    let (_, widest) = WIDEST.into_iter().find(|(depth, _)| *depth == levels).context("levels")?;
    let width = text("reported iova width")?.parse::<u32>()?.min(widest);
    let last = (1_u64 << width) - 1;
    ensure!(text("used aperture")? == format!("0x0-{last:#x}"), "{width} bits make {}", text("used aperture")?);

    let witness = Witness::open(context, 1)?;
    let ends = witness.session.iova_ranges()?.last().copied().map(|(_, end)| end);
    ensure!(ends == Some(Iova(last)), "VFIO's addresses end at {ends:x?}, not {last:#x}");
    let (id, _) = place(minihv, &witness.function)?;
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Stage1(levels.parse()?), "{levels} levels, but {translation:?}");
    sysfs_agrees(&[
        ("host_iova_width", text("reported iova width")?),
        ("aperture_width", &width.to_string()),
        ("table_levels", levels),
        ("page_sizes", text("reported page sizes")?),
        ("host_capabilities", text("reported flags")?),
    ])?;
    ensure!(text("list flush")? == "used", "list flush: {}", text("list flush")?);
    Ok(Outcome::Pass(format!("flags {flags:#x}, {width} bits, {levels} levels")))
}

pub const DEBUGFS_CAPABILITIES: Check = Check::new("debugfs-capabilities", capabilities);

/// What the IOMMU's devices are to sysfs.
fn devices_of_sysfs() -> Result<BTreeMap<String, LogicalDeviceId>> {
    let mut devices = BTreeMap::new();
    for function in pci::all()?.into_iter().filter(|function| function.group().is_some()) {
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        devices.insert(function.address, id);
    }
    Ok(devices)
}

/// Compares a line with minihv's domain of that number.
fn agrees(minihv: Minihv, line: &DomainLine) -> Result<()> {
    let Some(id) = line.id else {
        ensure!(line.devices.is_empty(), "devices outside all domains: {line:?}");
        return Ok(());
    };
    ensure!(minihv.domain_exists(id)?, "minihv has no domain {}", id.0);
    for (name, device) in &line.devices {
        let domain = minihv.device_domain(*device)?;
        ensure!(domain == Some(id), "{name} is in {domain:?} to minihv: {line:?}");
        let seen = minihv.device_translation(*device)?;
        let shown = match (line.kind.as_str(), line.paging) {
            ("blocking", None) => DeviceTranslation::Blocked,
            ("identity", None) => DeviceTranslation::Bypass,
            ("paging", Some(paging)) => DeviceTranslation::Stage1(paging.levels),
            _ => bail!("not a line that a device can be on: {line:?}"),
        };
        ensure!(seen == shown, "{name} is translated as {seen:?}: {line:?}");
    }
    if let Some(paging) = line.paging {
        let root = minihv.domain_root(id)?;
        ensure!(root == paging.root, "the root is {root:x?} to minihv: {line:x?}");
    }
    Ok(())
}

/// All lines agree with minihv, no domain and no device is missing, none is there twice.
fn all_agree(minihv: Minihv) -> Result<Vec<DomainLine>> {
    let lines = debugfs::domains()?;
    for line in &lines {
        agrees(minihv, line)?;
    }
    let shown = lines.iter().filter(|line| line.id.is_some()).count() as u64;
    let live = minihv.counter(Counter::LiveDomains, 0)?;
    ensure!(shown == live, "{shown} domains are shown, {live} live: {lines:?}");
    let count: usize = lines.iter().map(|line| line.devices.len()).sum();
    let devices: BTreeMap<_, _> = lines.iter().flat_map(|line| line.devices.clone()).collect();
    let known = devices_of_sysfs()?;
    ensure!(devices == known && count == known.len(), "{count} devices {devices:x?}, sysfs has {known:x?}");
    Ok(lines)
}

/// Domains come and go with VFIO; numbers, roots, depths and devices are those that minihv has.
fn domains(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = all_agree(minihv)?;
    let witness = Witness::open(context, 1)?;
    let id = domain_of(minihv, &witness)?;
    let during = all_agree(minihv)?;
    let line = during.iter().find(|line| line.id == Some(id)).context("the new domain has no line")?;
    ensure!(line.kind == "paging" && line.devices.contains_key(&witness.function.address), "{line:?}");
    ensure!(during.len() == before.len() + 1, "{} lines before, {} with VFIO's domain", before.len(), during.len());
    drop(witness);
    let after = all_agree(minihv)?;
    ensure!(debugfs::domain(id)?.is_none(), "domain {} is gone, its line is not", id.0);
    Ok(Outcome::Pass(format!("{} lines, then {}, then {}", before.len(), during.len(), after.len())))
}

pub const DEBUGFS_DOMAINS: Check = Check::new("debugfs-domains", domains);

/// What sysfs has of the IOMMU: what the core and the driver document, and links to the devices behind it.
fn sysfs(_context: &mut Context<'_>) -> Result<Outcome> {
    const DOCUMENTED: [&str; 5] = ["devices", "hyperv", "power", "subsystem", "uevent"];
    let names = |path: &Path| -> Result<Vec<String>> {
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut names =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let iommu = Path::new("/sys/class/iommu/hv_pviommu");
    let entries = names(iommu)?;
    ensure!(entries == DOCUMENTED, "{} holds {entries:?}", iommu.display());
    let linked = names(&iommu.join("devices"))?;
    let known: Vec<String> = devices_of_sysfs()?.into_keys().collect();
    ensure!(linked == known, "links to {linked:?}, in groups are {known:?}");
    Ok(Outcome::Pass(format!("{} devices", linked.len())))
}

pub const IOMMU_SYSFS: Check = Check::new("iommu-sysfs-as-documented", sysfs);
