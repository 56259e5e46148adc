// SPDX-License-Identifier: GPL-2.0
//! The programs of samples/, as a user runs them: their exit codes, their words, and what they did.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::Provoked;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::disk::{pattern, Disk};
use crate::faults::{announce, Faults};
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

/// How the programs end.
mod exit {
    pub const WELL: i32 = 0;
    pub const WRONG: i32 = 1;
    pub const USAGE: i32 = 2;
    pub const SETUP: i32 = 3;
    pub const INCOMPLETE: i32 = 4;
}

const IOMMUFD_DMA: &str = "/samples/iommufd-dma";
const NVME_USER: &str = "/samples/nvme-user";

/// Runs a program, which must end with `code`. Returns all that it said.
fn run(context: &mut Context<'_>, program: &str, arguments: &[&str], code: i32) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let said = [output.stdout, output.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned()).concat();
    for line in said.lines() {
        context.reporter.note(&format!("{program}: {line}"));
    }
    match output.status.code() {
        Some(seen) if seen == code => Ok(said),
        seen => bail!("{program} {} ended with {seen:?} instead of {code}: {said}", arguments.join(" ")),
    }
}

/// Every one of these words is in what a program said.
fn says(said: &str, words: &[&str]) -> Result<()> {
    match words.iter().find(|word| !said.contains(**word)) {
        None => Ok(()),
        Some(word) => bail!("the program does not say {word:?}"),
    }
}

fn edu_for_user() -> Result<PciFunction> {
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let edu = pci::find(pci::EDU)?;
    edu.bind("vfio-pci")?;
    Ok(edu)
}

/// Where iommufd-dma maps, and the size of the largest page that it tries.
const WINDOW: u64 = 0x40_0000_0000;
const LARGEST: u64 = 1 << 30;
/// Most transfers of one run without a mapping.
const ATTEMPTS: usize = 64;

/// The program lets the device try what is not mapped: at least one such fault, none outside of its window.
fn announce_attempts(edu: &PciFunction) -> Result<()> {
    let device = edu.logical_id().context("edu has no logical id")?;
    let (first, last) = (Iova(WINDOW), Iova(WINDOW + LARGEST - 1));
    announce(&Provoked::some(device, first..=last, 1..=ATTEMPTS));
    Ok(())
}

/// iommufd-dma lets edu at pages of all sizes, and the IOMMU reports what it was told to try without a mapping.
fn iommufd_dma(context: &mut Context<'_>) -> Result<Outcome> {
    let edu = edu_for_user()?;
    let mut faults = Faults::listen(context.minihv)?;
    let said = run(context, IOMMUFD_DMA, &[&edu.address], exit::WELL)?;
    for size in ["4 KiB", "2 MiB", "1 GiB"] {
        says(&said, &[&format!("{size} at 0x4000000000: mapped"), &format!("{size} at 0x4000000000: unmapped")])?;
    }
    says(&said, &["all is well"])?;
    let reported = faults.take_all()?;
    announce_attempts(&edu)?;
    if reported == 0 {
        bail!("no fault was reported for what the program calls blocked");
    }
    Ok(Outcome::Pass(format!("4 KiB, 2 MiB, 1 GiB; {reported} faults reported")))
}

const SAMPLE_DMA: Check = Check::new("sample-iommufd-dma", iommufd_dma);

/// iommufd-dma says what is missing, by words and by exit code.
fn iommufd_dma_refuses(context: &mut Context<'_>) -> Result<Outcome> {
    const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    run(context, IOMMUFD_DMA, &["--pages", "3k"], exit::USAGE)?;
    says(&run(context, IOMMUFD_DMA, &["ffff:00:00.0"], exit::SETUP)?, &["no PCI device"])?;

    let edu = edu_for_user()?;
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Refused)?;
    let refused = run(context, IOMMUFD_DMA, &[&edu.address], exit::SETUP)?;
    says(&refused, &["allow_unsafe_interrupts"])?;
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;

    let pages = fs::read_to_string(POOL).context(POOL)?;
    write_sysfs(Path::new(POOL), "0")?;
    let said = run(context, IOMMUFD_DMA, &["--pages", "4k,2m", &edu.address], exit::INCOMPLETE)?;
    write_sysfs(Path::new(POOL), pages.trim())?;
    says(&said, &["4 KiB at 0x4000000000: unmapped", "2 MiB: not tried", POOL])?;
    announce_attempts(&edu)?;

    edu.unbind()?;
    says(&run(context, IOMMUFD_DMA, &[&edu.address], exit::SETUP)?, &["not bound to vfio-pci"])?;
    Ok(Outcome::Pass("usage, no device, no permission, no huge pages, no driver".to_owned()))
}

const SAMPLE_DMA_REFUSES: Check = Check::new("sample-iommufd-dma-says-what-is-missing", iommufd_dma_refuses);

/// On a host that forgets flushes, iommufd-dma sees that the device still reaches what was unmapped.
fn iommufd_dma_sees_stale(context: &mut Context<'_>) -> Result<Outcome> {
    let edu = edu_for_user()?;
    let said = run(context, IOMMUFD_DMA, &["--pages", "4k", &edu.address], exit::WRONG)?;
    says(&said, &["WRONG: the device wrote memory at 0x4000000000, which is not mapped"])?;
    Ok(Outcome::Pass(String::new()))
}

const SAMPLE_DMA_STALE: Check = Check::new("sample-iommufd-dma-sees-stale", iommufd_dma_sees_stale);

/// What the kernel's NVMe driver wrote, nvme-user reads, and the other way round.
fn nvme_user(context: &mut Context<'_>) -> Result<Outcome> {
    /// Bytes of a block, as QEMU's controller has them.
    const BLOCK: u64 = 512;
    /// An odd number of pages, more than one command transfers.
    const BYTES: usize = 141 * 4096;
    const BY_KERNEL: u64 = 0;
    const BY_USER: u64 = 8 << 20;
    const BY_TEST: u64 = 16 << 20;
    const FILE: &str = "/tmp/blocks";
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let nvme = context.nvme()?.remove(0);
    let mut faults = Faults::listen(context.minihv)?;
    let block = |at: u64| (at / BLOCK).to_string();
    let blocks = (BYTES as u64 / BLOCK).to_string();
    Disk::open(&nvme.nvme_namespace()?)?.write(BY_KERNEL, BYTES)?;

    nvme.bind("vfio-pci")?;
    let address = nvme.address.as_str();
    let identity = run(context, NVME_USER, &[address, "identify"], exit::WELL)?;
    says(&identity, &["QEMU NVMe Ctrl", &format!("blocks of {BLOCK} bytes")])?;
    run(context, NVME_USER, &[address, "read", "--lba", &block(BY_KERNEL), "--blocks", &blocks, FILE], exit::WELL)?;
    if fs::read(FILE).context(FILE)? != pattern(BY_KERNEL, BYTES) {
        bail!("nvme-user does not read what the kernel wrote");
    }
    fs::write(FILE, pattern(BY_USER, BYTES)).context(FILE)?;
    run(context, NVME_USER, &[address, "write", "--lba", &block(BY_USER), FILE], exit::WELL)?;
    run(context, NVME_USER, &[address, "test", "--lba", &block(BY_TEST)], exit::WELL)?;
    let behind = run(context, NVME_USER, &[address, "test", "--lba", "0xffff"], exit::USAGE);
    behind.context("a block number that is none")?;
    run(context, NVME_USER, &[address, "test", "--lba", &u64::MAX.to_string()], exit::SETUP)?;

    nvme.bind("nvme")?;
    pci::wait_for_devices(context.options.devices)?;
    let mut disk = Disk::open(&nvme.nvme_namespace()?)?;
    disk.expect(BY_USER, BYTES).context("what nvme-user wrote, as the kernel sees it")?;
    disk.expect(BY_KERNEL, BYTES).context("what the kernel wrote before")?;
    faults.expect_none()?;
    Ok(Outcome::Pass(format!("{} KiB each way, compared", BYTES >> 10)))
}

const SAMPLE_NVME: Check = Check::new("sample-nvme-user", nvme_user);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "samples",
        summary: "the programs of samples/, as a user runs them",
        checks: &[DEVICES, GROUPS, NVME_QUICK, SAMPLE_NVME, NO_FAULTS, SAMPLE_DMA, SAMPLE_DMA_REFUSES, VIOLATIONS],
    },
    Scenario {
        name: "samples-stale",
        summary: "the sample for iommufd on a host that forgets flushes: it must say so",
        checks: &[DEVICES, SAMPLE_DMA_STALE],
    },
];
