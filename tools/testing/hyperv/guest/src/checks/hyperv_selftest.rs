// SPDX-License-Identifier: GPL-2.0
//! This IOMMU's own tests in the kernel's tree (tools/testing/selftests/hyperv). They know nothing of minihv; what they
//! have the devices try is announced here.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{Iova, LogicalDeviceId};
use hvprotocol::faults::Provoked;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::caches;
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::faults::announce;
use crate::kselftest;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

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
fn sysfs(context: &mut Context<'_>) -> Result<Outcome> {
    kselftest::run(context.reporter, "selftest-sysfs", SYSFS, &[], None)
}

const SELFTEST_SYSFS: Check = Check::new("selftest-sysfs", sysfs);

/// A program has the NVMe controller, by both interfaces. It is told to use what is not mapped, and cannot.
fn nvme(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let nvme = context.nvme()?.remove(0);
    let device = logical_id(&nvme)?;
    let outcome = kselftest::run(context.reporter, "selftest-nvme", USER, &[], Some(&nvme.address));
    // By each interface: a page after its unmap, written and read, the physical address, and a page that never was mapped.
    // Faults of one device are merged that nobody has taken yet.
    let (first, last) = (Iova(0), Iova(OUTSIDE + OUTSIDE_BYTES - 1));
    announce(&Provoked::some(device, first..=last, 4..=ATTEMPTS));
    let driver = nvme.driver();
    ensure!(driver.as_deref() == Some("nvme"), "{} was given back to {driver:?}", nvme.address);
    pci::wait_for_devices(context.options.devices)?;
    outcome
}

const SELFTEST_NVME: Check = Check::new("selftest-nvme", nvme);

/// A program has a device that is no NVMe controller.
fn other_device(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let edu = pci::find(pci::EDU)?;
    let outcome = kselftest::run(context.reporter, "selftest-other-device", USER, &[], Some(&edu.address));
    ensure!(edu.driver().is_none(), "{} was given back to {:?}", edu.address, edu.driver());
    outcome
}

const SELFTEST_OTHER_DEVICE: Check = Check::new("selftest-other-device", other_device);

/// Without the permission that devices without isolated interrupts need, the tests by a program say so.
fn not_permitted(context: &mut Context<'_>) -> Result<Outcome> {
    set_unsafe_interrupts(UnsafeInterrupts::Refused)?;
    let edu = pci::find(pci::EDU)?;
    kselftest::run(context.reporter, "selftest-not-permitted", USER, &["-f", "user"], Some(&edu.address))
}

const SELFTEST_NOT_PERMITTED: Check = Check::new("selftest-not-permitted", not_permitted);

/// The kernel's benchmark of DMA mappings, on a device that needs no data.
fn dma(context: &mut Context<'_>) -> Result<Outcome> {
    let edu = pci::find(pci::EDU)?;
    let outcome = kselftest::run(context.reporter, "selftest-dma", DMA, &[], Some(&edu.address));
    ensure!(edu.driver().is_none(), "{} was given back to {:?}", edu.address, edu.driver());
    outcome
}

const SELFTEST_DMA: Check = Check::new("selftest-dma", dma);

/// A program that has nothing to test, and says why.
fn skipped(context: &mut Context<'_>, program: &str, device: Option<&str>, reason: &str) -> Result<()> {
    match kselftest::run(context.reporter, program, program, &[], device)? {
        Outcome::Skip(said) if said.contains(reason) => Ok(()),
        Outcome::Skip(said) => bail!("{program} is skipped because of {said:?}, not {reason:?}"),
        Outcome::Pass(said) => bail!("{program} passes without the driver: {said}"),
    }
}

/// Without the driver no program claims anything, and the reason is the right one.
fn without_driver(context: &mut Context<'_>) -> Result<Outcome> {
    const REASON: &str = "the kernel was told hv_pviommu=off";
    let nvme = context.nvme()?.remove(0);
    for program in [SYSFS, USER, DMA] {
        skipped(context, program, Some(&nvme.address), REASON)?;
    }
    Ok(Outcome::Pass(REASON.to_owned()))
}

const SELFTEST_WITHOUT_DRIVER: Check = Check::new("selftest-without-driver", without_driver);

/// No program touches a device that nobody named, one that is not there, or one whose disk is in use.
fn without_device(context: &mut Context<'_>) -> Result<Outcome> {
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

const SELFTEST_WITHOUT_DEVICE: Check = Check::new("selftest-without-device", without_device);

/// The driver drops flushes: the tests must see that the controller still reaches what was unmapped.
fn dropped_flushes(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let nvme = context.nvme()?.remove(0);
    let device = logical_id(&nvme)?;
    // Its driver does not work without flushes.
    nvme.unbind()?;
    caches::omit_flushes(minihv)?;
    let outcome = kselftest::run(context.reporter, "selftest-dropped-flushes", USER, &[], Some(&nvme.address));
    minihv.clear_injections()?;
    let (first, last) = (Iova(OUTSIDE), Iova(OUTSIDE + OUTSIDE_BYTES - 1));
    announce(&Provoked::some(device, first..=last, 1..=ATTEMPTS));
    outcome
}

const SELFTEST_DROPPED_FLUSHES: Check = Check::new("selftest-dropped-flushes", dropped_flushes);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "selftest",
        summary: "the kernel tree's tests of this IOMMU, on NVMe and edu; the disk works as before",
        checks: &[
            DEVICES,
            GROUPS,
            SELFTEST_SYSFS,
            SELFTEST_WITHOUT_DEVICE,
            SELFTEST_NVME,
            SELFTEST_OTHER_DEVICE,
            SELFTEST_NOT_PERMITTED,
            SELFTEST_DMA,
            NVME_QUICK,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "selftest-without-driver",
        summary: "the same in a guest whose driver is off: nothing is claimed",
        checks: &[DEVICES, GROUPS, SELFTEST_WITHOUT_DRIVER],
    },
    Scenario {
        name: "selftest-dropped-flushes",
        summary: "the same while the driver drops flushes (the runner expects it to be noticed)",
        checks: &[DEVICES, GROUPS, SELFTEST_DROPPED_FLUSHES],
    },
];
