// SPDX-License-Identifier: GPL-2.0
//! This IOMMU's own tests in the kernel's tree (tools/testing/selftests/hyperv). They know nothing of minihv; what they
//! have the devices try is announced here.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{Iova, LogicalDeviceId};

use crate::faults::Provoked;
use crate::kselftest;
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::scenario::{Context, DEVICE_PATIENCE};
use crate::vfio::{BackEnd, UnsafeInterrupts};

const SYSFS: &str = "pviommu_sysfs_test";
const USER: &str = "pviommu_user_test";
const DMA: &str = "pviommu_dma_test";

/// Where the tests have a device try what is not mapped, from a quarter of the aperture of 47 bits on.
const OUTSIDE: u64 = 1 << 45;
/// How many bytes of address space they use there.
const OUTSIDE_BYTES: u64 = 0x20_1000;
/// Most faults of one run.
const ATTEMPTS: usize = 64;

fn set_unsafe_interrupts(policy: UnsafeInterrupts) -> Result<()> {
    BackEnd::ALL.into_iter().try_for_each(|back_end| back_end.set_unsafe_interrupts(policy))
}

fn logical_id(function: &PciFunction) -> Result<LogicalDeviceId> {
    function.logical_id().with_context(|| format!("{} has no logical id", function.address))
}

/// What sysfs says.
pub fn sysfs(context: &mut Context<'_>) -> Result<Outcome> {
    kselftest::run(context.reporter, "selftest-sysfs", SYSFS, &[], None)
}

/// A program has the NVMe controller, by both interfaces. It is told to use what is not mapped, and cannot.
pub fn nvme(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let nvme = context.nvme()?.remove(0);
    let device = logical_id(&nvme)?;
    let outcome = kselftest::run(context.reporter, "selftest-nvme", USER, &[], Some(&nvme.address));
    // By each interface: a page after its unmap, written and read, the physical address, and a page that never was mapped.
    // Faults of one device are merged that nobody has taken yet.
    let (first, last) = (Iova(0), Iova(OUTSIDE + OUTSIDE_BYTES - 1));
    Provoked { device, first, last, at_least: 4, at_most: ATTEMPTS }.announce();
    let driver = nvme.driver();
    ensure!(driver.as_deref() == Some("nvme"), "{} was given back to {driver:?}", nvme.address);
    pci::wait_for_devices(context.options.devices, DEVICE_PATIENCE)?;
    outcome
}

/// A program has a device that is no NVMe controller.
pub fn other_device(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let edu = pci::find(pci::EDU)?;
    let outcome = kselftest::run(context.reporter, "selftest-other-device", USER, &[], Some(&edu.address));
    ensure!(edu.driver().is_none(), "{} was given back to {:?}", edu.address, edu.driver());
    outcome
}

/// Without the permission that devices without isolated interrupts need, the tests by a program say so.
pub fn not_permitted(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Refused)?;
    let edu = pci::find(pci::EDU)?;
    kselftest::run(context.reporter, "selftest-not-permitted", USER, &["-f", "user"], Some(&edu.address))
}

/// The kernel's benchmark of DMA mappings, on a device that needs no data.
pub fn dma(context: &mut Context<'_>) -> Result<Outcome> {
    let edu = pci::find(pci::EDU)?;
    let outcome = kselftest::run(context.reporter, "selftest-dma", DMA, &[], Some(&edu.address));
    ensure!(edu.driver().is_none(), "{} was given back to {:?}", edu.address, edu.driver());
    outcome
}

/// A program that has nothing to test, and says why.
fn skipped(context: &mut Context<'_>, program: &str, device: Option<&str>, reason: &str) -> Result<()> {
    match kselftest::run(context.reporter, program, program, &[], device)? {
        Outcome::Skip(said) if said.contains(reason) => Ok(()),
        Outcome::Skip(said) => bail!("{program} is skipped because of {said:?}, not {reason:?}"),
        Outcome::Pass(said) => bail!("{program} passes without the driver: {said}"),
    }
}

/// Without the driver no program claims anything, and the reason is the right one.
pub fn without_driver(context: &mut Context<'_>) -> Result<Outcome> {
    const REASON: &str = "the kernel was told hv_pviommu=off";
    let nvme = context.nvme()?.remove(0);
    for program in [SYSFS, USER, DMA] {
        skipped(context, program, Some(&nvme.address), REASON)?;
    }
    Ok(Outcome::Pass(REASON.to_owned()))
}

/// No program touches a device that nobody named, one that is not there, or one whose disk is in use.
pub fn without_device(context: &mut Context<'_>) -> Result<Outcome> {
    let nvme = context.nvme()?.remove(0);
    let disk = nvme.nvme_namespace()?;
    let held = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&disk);
    let held = held.with_context(|| disk.display().to_string())?;
    for program in [USER, DMA] {
        skipped(context, program, None, "no device that may lose its data was named in HV_PVIOMMU_BDF")?;
        skipped(context, program, Some("ffff:00:00.0"), "there is no PCI device ffff:00:00.0")?;
        skipped(context, program, Some(&nvme.address), "has a disk that is in use")?;
    }
    drop(held);
    let driver = nvme.driver();
    ensure!(driver.as_deref() == Some("nvme"), "{} was taken from its driver, and has {driver:?}", nvme.address);
    Ok(Outcome::Pass("not named, not there, in use".to_owned()))
}

/// The driver drops flushes: the tests must see that the controller still reaches what was unmapped.
pub fn dropped_flushes(context: &mut Context<'_>) -> Result<Outcome> {
    let switch = Path::new("/sys/module/hv_pviommu/parameters/drop_flush");
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let nvme = context.nvme()?.remove(0);
    let device = logical_id(&nvme)?;
    // Its driver does not work without flushes.
    nvme.unbind()?;
    write_sysfs(switch, "1")?;
    let outcome = kselftest::run(context.reporter, "selftest-dropped-flushes", USER, &[], Some(&nvme.address));
    write_sysfs(switch, "0")?;
    let (first, last) = (Iova(OUTSIDE), Iova(OUTSIDE + OUTSIDE_BYTES - 1));
    Provoked { device, first, last, at_least: 1, at_most: ATTEMPTS }.announce();
    outcome
}
