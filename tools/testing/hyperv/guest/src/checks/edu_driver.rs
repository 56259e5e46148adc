// SPDX-License-Identifier: GPL-2.0
//! The driver of edu among the kernel's Rust samples: a device's driver that uses the DMA API.

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::Access;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::faults::Faults;
use crate::kernel_log::KernelLog;
use crate::modules;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

const MODULE: &str = "rust_edu_dma";
/// What the driver says when what the device has read is what was there.
const COMPARED: [&str; 2] =
    ["4096 bytes of coherent memory at 0x", "12288 bytes of a streaming mapping: read by the device, compared"];
const UNMAPPED: &str = "the device reads address 0x0, which is not mapped, on purpose";

/// Loads the module, whose driver must take edu. Returns the device and what the driver said.
fn load(parameters: &[&str]) -> Result<(PciFunction, Vec<String>)> {
    let mut log = KernelLog::follow()?;
    let edu = pci::find(pci::EDU)?;
    modules::modprobe_with(MODULE, parameters)?;
    let lines: Vec<String> = log.take()?.into_iter().filter(|line| line.contains(&edu.address)).collect();
    ensure!(edu.driver().as_deref() == Some(MODULE), "edu has the driver {:?}; said: {lines:?}", edu.driver());
    Ok((edu, lines))
}

/// Unloads the module, which lets go of the device.
fn unload(edu: &PciFunction) -> Result<()> {
    modules::rmmod(MODULE)?;
    ensure!(edu.driver().is_none(), "edu still has the driver {:?}", edu.driver());
    Ok(())
}

fn says(lines: &[String], words: &str) -> Result<()> {
    ensure!(lines.iter().any(|line| line.contains(words)), "the driver does not say {words:?}: {lines:?}");
    Ok(())
}

/// What the device reads by the DMA API is what is there, and nothing is tried that is not mapped.
fn mapped(context: &mut Context<'_>) -> Result<Outcome> {
    let mut faults = Faults::listen(context.minihv)?;
    let (edu, lines) = load(&[])?;
    for words in COMPARED {
        says(&lines, words)?;
    }
    ensure!(says(&lines, UNMAPPED).is_err(), "an address was tried that is not mapped, though nobody asked for it");
    faults.expect_none()?;
    unload(&edu)?;
    Ok(Outcome::Pass("a page of coherent memory, 3 pages of a streaming mapping".to_owned()))
}

const EDU_MAPPED: Check = Check::new("edu-driver-compares-what-was-read", mapped);

/// When it is asked for, the device tries what is not mapped, and the IOMMU reports that.
fn unmapped(context: &mut Context<'_>) -> Result<Outcome> {
    let mut faults = Faults::listen(context.minihv)?;
    let (edu, lines) = load(&["unmapped=1"])?;
    says(&lines, UNMAPPED)?;
    faults.expect(&edu, Iova(0), Access::Read).context("the fault that was asked for")?;
    faults.expect_none()?;
    unload(&edu)?;
    Ok(Outcome::Pass("one fault, reported".to_owned()))
}

const EDU_UNMAPPED: Check = Check::new("edu-driver-tries-what-is-not-mapped", unmapped);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "edu-driver",
    summary: "the driver of edu among the kernel's Rust samples",
    checks: &[DEVICES, GROUPS, EDU_MAPPED, NO_FAULTS, EDU_UNMAPPED, KMEMLEAK, VIOLATIONS],
}];
