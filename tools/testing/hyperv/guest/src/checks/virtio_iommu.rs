// SPDX-License-Identifier: GPL-2.0
//! virtio-iommu's driver in Rust, on a machine without minihv.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::options::DomainMode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::bar::{CDEV_BAR_REFUSED, CDEV_DMA_BUF, TYPE1_BAR};
use crate::checks::cdev::{CDEV_DETACH, CDEV_EARLY_MAP, CDEV_LIMITS, CDEV_UNSAFE, TYPE1_LIMITS, TYPE1_UNSAFE};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::nvme::{NVME_FIO, NVME_QUICK};
use crate::checks::ownership::{INTERFACES_EXCLUDE, ONE_USER};
use crate::checks::protection::{
    CDEV_MAPPED, CDEV_NEIGHBOUR, CDEV_REMAP, CDEV_STALE, CDEV_UNMAPPED, RAW_BLOCKED, VFIO_MAPPED, VFIO_NEIGHBOUR,
    VFIO_REMAP, VFIO_STALE, VFIO_UNMAPPED,
};
use crate::checks::scattered::SCATTERED;
use crate::checks::virtio::VIRTIO;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::kernel_log::KernelLog;
use crate::memory::DmaBuffer;
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;
use crate::virtio_faults::is_fault;
use crate::witness::{CANARY, FROM_DEVICE};

/// Domain types, so that each follows each other one.
const TYPES: [DomainMode; 7] = [
    DomainMode::Identity,
    DomainMode::Strict,
    DomainMode::Identity,
    DomainMode::Deferred,
    DomainMode::Strict,
    DomainMode::Deferred,
    DomainMode::Identity,
];

/// What QEMU's machine says of the interrupt window, as sysfs shows it: a property of each endpoint.
const INTERRUPT_WINDOW: &str = "0x00000000fee00000 0x00000000feefffff msi";

/// The IOVAs at which the IOMMU takes interrupts itself are known for each device, and no others are taken for such ones.
fn window_reserved(context: &mut Context<'_>) -> Result<Outcome> {
    for function in &context.functions {
        let path = function.file("iommu_group/reserved_regions");
        let regions = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if regions.trim() != INTERRUPT_WINDOW {
            bail!("{}: reserved regions {regions:?} instead of {INTERRUPT_WINDOW:?}", function.address);
        }
    }
    Ok(Outcome::Pass(INTERRUPT_WINDOW.to_owned()))
}

/// What devices did so far has caused no fault.
fn no_faults(_: &mut Context<'_>) -> Result<Outcome> {
    match KernelLog::records()?.iter().find(|record| is_fault(&record.text)) {
        Some(record) => bail!("a DMA fault happened: {}", record.text),
        None => Ok(Outcome::Pass(String::new())),
    }
}

/// The administrator changes the type of edu's domain: in the identity domain the device reaches memory by its physical
/// address, in the others it does not.
fn reach_follows_type(_: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    function.unbind()?;
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let buffer = DmaBuffer::new(2)?;
    let (source, target) = (Iova(buffer.physical(0)?.0), Iova(buffer.physical(1)?.0));
    let file = function.file("iommu_group/type");
    for kind in TYPES {
        let word = kind.group_type().context("this mode has no groups")?;
        write_sysfs(&file, word)?;
        buffer.fill(0, FROM_DEVICE);
        buffer.fill(1, CANARY);
        edu.load(source)?;
        edu.store(target)?;
        let expected = if kind == DomainMode::Identity { FROM_DEVICE } else { CANARY };
        buffer.expect(1, expected, &format!("the page that the device wrote in a domain of type {word}"))?;
    }
    write_sysfs(&file, "auto")?;
    Ok(Outcome::Pass(format!("{} changes", TYPES.len())))
}

/// How long the report of a fault may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The IOMMU refuses requests about an endpoint that edu has, so its driver blocks edu: it reaches no memory, and the IOMMU
/// reports that it tried. The endpoint in the report is another one, which DMA from behind a bridge carries.
fn refused_is_blocked(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    function.unbind()?;
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let buffer = DmaBuffer::new(2)?;
    let (source, target) = (Iova(buffer.physical(0)?.0), Iova(buffer.physical(1)?.0));
    buffer.fill(0, FROM_DEVICE);
    buffer.fill(1, CANARY);
    let mut faults = Faults::listen(context.minihv)?;
    faults.prepare()?;
    edu.load(source)?;
    edu.store(target)?;
    buffer.expect(1, CANARY, "memory that a blocked device has tried to write")?;
    let start = Instant::now();
    while faults.take_all()? == 0 {
        if start.elapsed() > PATIENCE {
            bail!("no fault was reported");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Outcome::Pass(String::new()))
}

const VIRTIO_IOMMU_REFUSED: Check = Check::new("refused-device-is-blocked", refused_is_blocked);
const VIRTIO_IOMMU_NO_FAULTS: Check = Check::new("no-stray-dma-faults", no_faults);
const VIRTIO_IOMMU_WINDOW: Check = Check::new("interrupt-window-is-reserved", window_reserved);
const VIRTIO_IOMMU_REACH: Check = Check::new("edu-reach-follows-domain-type", reach_follows_type);

/// The scenarios. The fault check comes before those that cause faults on purpose.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "virtio-iommu-quick",
        summary: "a little of each: NVMe, what is unmapped, a device in no address space and in another one",
        checks: &[
            DEVICES,
            GROUPS,
            VIRTIO_IOMMU_WINDOW,
            NVME_QUICK,
            VIRTIO_IOMMU_NO_FAULTS,
            VFIO_NEIGHBOUR,
            CDEV_DETACH,
        ],
    },
    Scenario {
        name: "virtio-iommu-refused",
        summary: "a device of which the IOMMU does not know an endpoint is blocked; others are translated",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIRTIO_IOMMU_NO_FAULTS, VIRTIO_IOMMU_REFUSED],
    },
    Scenario {
        name: "virtio-iommu-unusable",
        summary: "the IOMMU maps no single pages: its driver does not use it, and devices work without",
        checks: &[DEVICES, NVME_QUICK],
    },
    Scenario {
        name: "virtio-iommu-dma",
        summary: "groups, fio on NVMe, and that edu reaches what its domain lets it reach",
        checks: &[
            DEVICES,
            GROUPS,
            VIRTIO_IOMMU_WINDOW,
            NVME_FIO,
            VIRTIO,
            VIRTIO_IOMMU_NO_FAULTS,
            RAW_BLOCKED,
            VIRTIO_IOMMU_REACH,
            VFIO_MAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            SCATTERED,
        ],
    },
    Scenario {
        name: "virtio-iommu-identity",
        summary: "bypass: devices use physical addresses; VFIO still translates",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIRTIO, VIRTIO_IOMMU_NO_FAULTS, IDENTITY_EDU, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "virtio-iommu-passthrough",
        summary: "devices in the hands of programs, by type 1 and by iommufd",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO_IOMMU_NO_FAULTS,
            TYPE1_UNSAFE,
            CDEV_UNSAFE,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            CDEV_MAPPED,
            CDEV_UNMAPPED,
            CDEV_STALE,
            CDEV_REMAP,
            CDEV_NEIGHBOUR,
            CDEV_DETACH,
            CDEV_EARLY_MAP,
            TYPE1_LIMITS,
            CDEV_LIMITS,
            TYPE1_BAR,
            CDEV_BAR_REFUSED,
            CDEV_DMA_BUF,
            INTERFACES_EXCLUDE,
            ONE_USER,
        ],
    },
];
