// SPDX-License-Identifier: GPL-2.0
//! The mock IOMMU driver of the kernel's Rust samples: a second driver on the abstractions, in a module.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::leaks::KMEMLEAK;
use crate::modules;
use crate::pci::write_sysfs;
use crate::report::Outcome;

const MODULE: &str = "rust_iommu_mock";
const TESTS: &str = "iommu_mock_test";
const DEBUGFS: &str = "/sys/kernel/debug/rust_iommu_mock";
/// The IOMMUs: their files in debugfs, in the order of their numbers.
const IOMMUS: [&str; 2] = ["mapped", "table"];

fn make_devices(count: usize) -> Result<()> {
    write_sysfs(&Path::new(DEBUGFS).join("devices"), &count.to_string())
}

/// A line of what an IOMMU was asked for.
fn counter(iommu: &str, name: &str) -> Result<String> {
    let path = Path::new(DEBUGFS).join(iommu);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Ok(value.with_context(|| format!("{} has no {name}", path.display()))?.to_owned())
}

fn expect(name: &str, wanted: &str) -> Result<()> {
    for iommu in IOMMUS {
        let found = counter(iommu, name)?;
        ensure!(found == wanted, "{iommu}: {name}: {found}, expected {wanted}");
    }
    Ok(())
}

fn client(iommu: usize) -> PathBuf {
    PathBuf::from(format!("/sys/bus/platform/devices/mock{iommu}-client.0"))
}

/// Each device is found by the IOMMU that its firmware node names, is in a group of its own, and goes again.
fn devices(_: &mut Context<'_>) -> Result<Outcome> {
    modules::modprobe(MODULE)?;
    make_devices(3)?;
    expect("devices", "3")?;
    expect("finalized", "3")?;
    // One default domain for each, to which the driver has attached it.
    expect("domains", "3")?;
    expect("attaches", "3")?;
    let mut groups = Vec::new();
    for (number, _) in IOMMUS.iter().enumerate() {
        let link = client(number).join("iommu");
        let iommu = fs::read_link(&link).with_context(|| link.display().to_string())?;
        ensure!(iommu.ends_with(format!("mock{number}")), "{} leads to {}", link.display(), iommu.display());
        groups.push(fs::read_link(client(number).join("iommu_group"))?);
    }
    ensure!(groups.first() != groups.last(), "devices of two IOMMUs share a group");
    make_devices(1)?;
    expect("devices", "1")?;
    expect("domains", "1")?;
    // Each of the two that are gone was put into the blocking domain before it was released.
    expect("attaches", "5")?;
    Ok(Outcome::Pass("3 devices behind each of 2 IOMMUs, then 1".to_owned()))
}

const MOCK_DEVICES: Check = Check::new("mock-devices-are-found", devices);

/// The kernel's tests of the driver run when their module is loaded; the runner counts them. They leave nothing behind.
fn tests(_: &mut Context<'_>) -> Result<Outcome> {
    modules::modprobe(TESTS)?;
    modules::rmmod(TESTS)?;
    expect("domains", "1")?;
    expect("pasids", "0")?;
    // One test attaches the device to its own domain, and detaches it, which attaches it to its default domain again.
    expect("attaches", "7")?;
    expect("last flush", "0x13000-0x13fff")?;
    let flushes = IOMMUS.iter().map(|iommu| counter(iommu, "flushes")).collect::<Result<Vec<_>>>()?;
    ensure!(!flushes.contains(&"0".to_owned()), "nothing was flushed: {flushes:?}");
    Ok(Outcome::Pass(format!("ranges flushed: {flushes:?}")))
}

const MOCK_TESTS: Check = Check::new("mock-driver-passes-the-kernels-tests", tests);

/// The module is held by each device, and goes when none is left.
fn held(_: &mut Context<'_>) -> Result<Outcome> {
    // A module that is in use is refused with EWOULDBLOCK, which is EAGAIN: try_stop_module() in kernel/module/main.c.
    // EBUSY is for a module that is being loaded or unloaded, or that cannot be unloaded at all.
    match modules::rmmod(MODULE) {
        Ok(()) => bail!("the module was unloaded under its devices"),
        Err(error) => ensure!(
            format!("{error:#}").contains("temporarily unavailable"),
            "the module was refused for another reason: {error:#}"
        ),
    }
    make_devices(0)?;
    expect("domains", "0")?;
    modules::rmmod(MODULE)?;
    ensure!(!Path::new(DEBUGFS).exists(), "{DEBUGFS} is still there");
    for (number, _) in IOMMUS.iter().enumerate() {
        let path = PathBuf::from(format!("/sys/class/iommu/mock{number}"));
        ensure!(!path.exists(), "{} is still there", path.display());
    }
    Ok(Outcome::Pass("refused with a device, unloaded without".to_owned()))
}

const MOCK_HELD: Check = Check::new("mock-driver-is-held-by-its-devices", held);

/// The module comes and goes.
fn rounds(context: &mut Context<'_>) -> Result<Outcome> {
    let rounds = context.options.rounds;
    for round in 0..rounds {
        let count = 1 + round as usize % 4;
        modules::modprobe(MODULE)?;
        make_devices(count)?;
        expect("devices", &count.to_string())?;
        make_devices(0)?;
        modules::rmmod(MODULE).with_context(|| format!("round {round}"))?;
    }
    Ok(Outcome::Pass(format!("{rounds} rounds")))
}

const MOCK_ROUNDS: Check = Check::new("mock-driver-comes-and-goes", rounds);

/// The IOMMUs are withdrawn while a device is behind each. The core still knows them when the devices are gone, and would
/// call them for the next device: so the module stays.
fn withdrawn(_: &mut Context<'_>) -> Result<Outcome> {
    modules::modprobe(MODULE)?;
    make_devices(1)?;
    fs::write(Path::new(DEBUGFS).join("iommus"), "withdrawn").context("withdrawing the IOMMUs")?;
    make_devices(0)?;
    expect("devices", "0")?;
    ensure!(modules::rmmod(MODULE).is_err(), "the module was unloaded, and the core still calls it");
    make_devices(1)?;
    expect("devices", "1")?;
    make_devices(0)?;
    Ok(Outcome::Pass("2 IOMMUs stay".to_owned()))
}

const MOCK_WITHDRAWN: Check = Check::new("mock-driver-stays-with-its-iommus", withdrawn);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "mock",
    summary: "the mock IOMMU driver of the kernel's Rust samples",
    checks: &[MOCK_DEVICES, MOCK_TESTS, MOCK_HELD, MOCK_ROUNDS, MOCK_WITHDRAWN, KMEMLEAK, VIOLATIONS],
}];
