// SPDX-License-Identifier: GPL-2.0
//! One kernel after another on the same hypervisor: what the first leaves behind, and what the next finds.

use std::fs;
use std::ops::Range;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{BusIndex, DomainId, Gpa, Iova};
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::nvme::{NVME_IOVA, NVME_QUICK};
use crate::checks::protection::{RAW_BLOCKED, VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED, VFIO_WALK};
use crate::checks::virtio::VIRTIO;
use crate::disk;
use crate::hotplug;
use crate::iomem;
use crate::kexec::{self, Next, Purpose};
use crate::minihv::Minihv;
use crate::report::Outcome;
use crate::witness::{Witness, FROM_DEVICE};

/// `HV_STATUS_KEY_ALREADY_EXISTS`: a domain number is taken.
const KEY_ALREADY_EXISTS: u32 = 0x65;
/// What a kernel leaves behind: the domain that its devices are blocked in, to the end.
const LEFT_DOMAINS: u64 = 1;
/// Domains of a kernel that are there without devices: the blocking and the identity domain.
const STATIC_DOMAINS: u64 = 2;
/// Numbers that are asked for; no kernel here makes more domains than that.
const NUMBERS: Range<u32> = 1..256;
/// Where the device that is held over has its mapping.
const HELD: Iova = Iova(0x20_8000_0000);
/// The bus of the NVMe disk, the first device of these guests.
const DISK_BUS: BusIndex = BusIndex(0);
const MIB: u64 = 1 << 20;

fn minihv(context: &Context<'_>) -> Result<Minihv> {
    context.minihv.context("needs minihv")
}

/// Every domain that minihv knows.
fn live_domains(minihv: Minihv) -> Result<Vec<DomainId>> {
    let mut live = Vec::new();
    for id in NUMBERS.map(DomainId) {
        if minihv.domain_exists(id)? {
            live.push(id);
        }
    }
    if live.len() as u64 != minihv.counter(Counter::LiveDomains, 0)? {
        bail!("minihv knows more domains than those numbered {NUMBERS:?}: {live:?}");
    }
    Ok(live)
}

/// Leaves edu in the hands of VFIO, with a mapping that it has used, and the NVMe controller busy, to the very end.
fn keep_busy(context: &mut Context<'_>) -> Result<Outcome> {
    let witness = Witness::open(context, 1)?;
    witness.session.map(HELD, &witness.buffer, 0, 1)?;
    witness.round_trip(HELD, 0, FROM_DEVICE, "the page that edu wrote")?;
    let id = witness.function.logical_id().context("edu has no logical id")?;
    let domain = minihv(context)?.device_domain(id)?.context("edu is in no domain")?;
    let page = witness.buffer.physical(0)?;
    if !minihv(context)?.walk(domain, HELD)?.is_some_and(|leaf| leaf.sends(HELD, page)) {
        bail!("domain {} does not map {:#x} onto {:#x}", domain.0, HELD.0, page.0);
    }
    // That the search for such leaves finds them is what the next kernel of a guest relies on. Tables of a root partition's
    // domains are the hypervisor's, and none of them is there in the next kernel.
    let block = page.0 / MIB * MIB;
    let is_guest = witness.function.bus().is_some();
    if is_guest && minihv(context)?.leaves_into(domain, Gpa(block)..Gpa(block + MIB))? == 0 {
        bail!("no leaf of domain {} points at {:#x}, which is mapped", domain.0, page.0);
    }
    std::mem::forget(witness);
    let controllers = context.functions.iter().filter(|function| function.is_nvme());
    let disks = controllers.map(|controller| controller.nvme_namespace()).collect::<Result<Vec<_>>>()?;
    let busy = disks.len();
    for disk in disks {
        // Ends with the first I/O that fails, when the controller is shut down under it.
        std::thread::spawn(move || while disk::verify(&disk).is_ok() {});
    }
    Ok(Outcome::Pass(format!("edu in domain {}, {busy} NVMe namespaces", domain.0)))
}

pub const IN_USE: Check = Check::new("devices-in-use", keep_busy);

fn load(context: &mut Context<'_>, purpose: Purpose) -> Result<Outcome> {
    let domains = live_domains(minihv(context)?)?;
    let kernel = context.options.kernel + 1;
    let (scenarios, words) = (&context.options.next, &context.options.tell);
    kexec::load(purpose, context.options.load_by, &Next { scenarios, words, kernel, domains: &domains })?;
    Ok(Outcome::Pass(format!("kernel {kernel} of this boot, {} domains are left to it", domains.len())))
}

/// Loads the kernel that follows this one.
fn load_successor(context: &mut Context<'_>) -> Result<Outcome> {
    load(context, Purpose::Successor)
}

pub const SUCCESSOR_LOADED: Check = Check::new("next-kernel-loaded", load_successor);

/// Loads the kernel that runs when this one has crashed.
fn load_crash_kernel(context: &mut Context<'_>) -> Result<Outcome> {
    load(context, Purpose::Crash)
}

pub const CRASH_KERNEL_LOADED: Check = Check::new("crash-kernel-loaded", load_crash_kernel);

/// No device was left in a domain that lets it do DMA: this kernel's memory is the previous one's.
fn devices_were_blocked(context: &mut Context<'_>) -> Result<Outcome> {
    match minihv(context)?.counter(Counter::Abandoned, 0)? {
        0 => Ok(Outcome::Pass(String::new())),
        count => bail!("{count} devices could do DMA when the previous kernel dropped its connection"),
    }
}

pub const DEVICES_WERE_BLOCKED: Check = Check::new("previous-kernel-blocked-devices", devices_were_blocked);

/// The numbers of the previous kernels' domains were found to be taken.
fn numbers_were_taken(context: &mut Context<'_>) -> Result<Outcome> {
    match minihv(context)?.counter(Counter::Status, KEY_ALREADY_EXISTS)? {
        0 => bail!("no number was found to be taken: the previous kernel left {:?}", context.options.domains),
        count => Ok(Outcome::Pass(format!("{count} numbers, of domains {:?}", context.options.domains))),
    }
}

const NUMBERS_TAKEN: Check = Check::new("taken-domain-numbers-skipped", numbers_were_taken);

/// Kernels that follow one another do not pile up domains.
fn domains_are_bounded(context: &mut Context<'_>) -> Result<Outcome> {
    let live = minihv(context)?.counter(Counter::LiveDomains, 0)?;
    let (kernel, functions) = (context.options.kernel, context.functions.len() as u64);
    let most = (kernel - 1) * LEFT_DOMAINS + STATIC_DOMAINS + functions;
    if live > most {
        bail!("{live} domains live under kernel {kernel} with {functions} functions; expected {most} at most");
    }
    Ok(Outcome::Pass(format!("{live} domains live, {most} at most")))
}

const DOMAINS_BOUNDED: Check = Check::new("live-domains-bounded", domains_are_bounded);

/// This is the kernel after a crash, and it has the memory of the crashed one to look at.
fn is_crash_kernel(_: &mut Context<'_>) -> Result<Outcome> {
    let bytes = fs::metadata("/proc/vmcore").context("/proc/vmcore")?.len();
    if bytes == 0 {
        bail!("/proc/vmcore is empty");
    }
    Ok(Outcome::Pass(format!("/proc/vmcore has {} MiB", bytes >> 20)))
}

pub const CRASH_KERNEL: Check = Check::new("crash-kernel-runs", is_crash_kernel);

/// No table of the crashed kernel, whose devices were attached until this one took them over, maps memory of this one.
fn old_tables_spare_this_kernel(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = minihv(context)?;
    let memory = iomem::system_ram()?;
    let mebibytes = iomem::bytes(&memory) >> 20;
    if mebibytes == 0 {
        bail!("/proc/iomem tells no RAM");
    }
    let mut searched = 0;
    for &id in &context.options.domains {
        if minihv.domain_root(id)? == Gpa(0) {
            continue;
        }
        searched += 1;
        for range in &memory {
            let leaves = minihv.leaves_into(id, range.clone())?;
            if leaves != 0 {
                bail!("{leaves} leaves of the crashed kernel's domain {} point into {range:x?}", id.0);
            }
        }
    }
    if searched == 0 {
        bail!("the crashed kernel left no table: {:?}", context.options.domains);
    }
    // A crash blocks no device: this counter, by which `devices_were_blocked` judges, must have seen some.
    match minihv.counter(Counter::Abandoned, 0)? {
        0 => bail!("no device is counted as left in use by the crashed kernel, which had no chance to block any"),
        left => Ok(Outcome::Pass(format!("{searched} tables, {mebibytes} MiB; {left} devices were in use"))),
    }
}

pub const OLD_TABLES: Check = Check::new("old-tables-spare-this-kernel", old_tables_spare_this_kernel);

/// The host offers the disk again that it withdrew when the kernel before crashed.
fn disk_comes_back(context: &mut Context<'_>) -> Result<Outcome> {
    let back = hotplug::offer(minihv(context)?, DISK_BUS, 1)?;
    let controller = back.first().context("no function")?;
    let compared = disk::verify(&hotplug::namespace(controller)?)?;
    Ok(Outcome::Pass(format!("{} KiB compared", compared >> 10)))
}

pub const DISK_OFFERED_AGAIN: Check = Check::new("withdrawn-disk-comes-back", disk_comes_back);

/// The scenarios. In those that leave for another kernel, loading it comes last: it is told of everything before.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "kexec",
        summary: "leaves for the next kernel with all devices in use",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, IN_USE, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-passed",
        summary: "the kernel after that, which leaves for yet another one",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NO_FAULTS,
            VIOLATIONS,
            IN_USE,
            SUCCESSOR_LOADED,
        ],
    },
    Scenario {
        name: "kexec-arrived",
        summary: "the last kernel: translation and protection as after a cold start",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NVME_IOVA,
            VIRTIO,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kexec-arrived-doubtful",
        summary: "the last kernel, on a host that has another word for a domain number that is taken",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NVME_IOVA,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kexec-edu",
        summary: "leaves for the next kernel with edu alone, in use",
        checks: &[DEVICES, GROUPS, VIOLATIONS, NO_FAULTS, IN_USE, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-arrived-without",
        summary: "the last kernel does not use the IOMMU: its devices stay blocked",
        checks: &[DEVICES, GROUPS, DEVICES_WERE_BLOCKED, NO_FAULTS, RAW_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "kexec-arrived-identity",
        summary: "the last kernel, its devices in bypass as those of the one before",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NO_FAULTS,
            IDENTITY_EDU,
            VFIO_MAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
];
