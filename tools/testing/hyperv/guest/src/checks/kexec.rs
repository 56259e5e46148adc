// SPDX-License-Identifier: GPL-2.0
//! One kernel after another on the same hypervisor: what the first leaves behind, and what the next finds.

use std::fs;
use std::ops::Range;

use anyhow::{bail, Context as _, Result};
use hvcore::control::Counter;
use hvcore::ids::{BusIndex, DomainId, Gpa, Iova};

use crate::blockio;
use crate::control::Minihv;
use crate::hotplug;
use crate::iomem;
use crate::kexec::{self, Next, Purpose};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{Bench, FROM_DEVICE};

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
pub fn keep_busy(context: &mut Context<'_>) -> Result<Outcome> {
    let bench = Bench::open(context, 1)?;
    bench.session.map(HELD, &bench.buffer, 0, 1)?;
    bench.round_trip(HELD, 0, FROM_DEVICE, "the page that edu wrote")?;
    // That the search for such leaves finds them is what the next kernel relies on.
    let id = bench.function.logical_id().context("edu has no logical id")?;
    let domain = minihv(context)?.device_domain(id)?.context("edu is in no domain")?;
    let page = bench.buffer.physical(0)?;
    let block = page.0 / MIB * MIB;
    if minihv(context)?.leaves_into(domain, Gpa(block)..Gpa(block + MIB))? == 0 {
        bail!("no leaf of domain {} points at {:#x}, which is mapped", domain.0, page.0);
    }
    std::mem::forget(bench);
    let controllers = context.functions.iter().filter(|function| function.is_nvme());
    let disks = controllers.map(|controller| controller.nvme_namespace()).collect::<Result<Vec<_>>>()?;
    let busy = disks.len();
    for disk in disks {
        // Ends with the first I/O that fails, when the controller is shut down under it.
        std::thread::spawn(move || while blockio::verify(&disk).is_ok() {});
    }
    Ok(Outcome::Pass(format!("edu in domain {}, {busy} NVMe namespaces", domain.0)))
}

fn load(context: &mut Context<'_>, purpose: Purpose) -> Result<Outcome> {
    let domains = live_domains(minihv(context)?)?;
    let kernel = context.options.kernel + 1;
    let (scenarios, words) = (&context.options.next, &context.options.tell);
    kexec::load(purpose, context.options.load_by, &Next { scenarios, words, kernel, domains: &domains })?;
    Ok(Outcome::Pass(format!("kernel {kernel} of this boot, {} domains are left to it", domains.len())))
}

/// Loads the kernel that follows this one.
pub fn load_successor(context: &mut Context<'_>) -> Result<Outcome> {
    load(context, Purpose::Successor)
}

/// Loads the kernel that runs when this one has crashed.
pub fn load_crash_kernel(context: &mut Context<'_>) -> Result<Outcome> {
    load(context, Purpose::Crash)
}

/// No device was left in a domain that lets it do DMA: this kernel's memory is the previous one's.
pub fn devices_were_blocked(context: &mut Context<'_>) -> Result<Outcome> {
    match minihv(context)?.counter(Counter::Abandoned, 0)? {
        0 => Ok(Outcome::Pass(String::new())),
        count => bail!("{count} devices could do DMA when the previous kernel dropped its connection"),
    }
}

/// The numbers of the previous kernels' domains were found to be taken.
pub fn numbers_were_taken(context: &mut Context<'_>) -> Result<Outcome> {
    match minihv(context)?.counter(Counter::Status, KEY_ALREADY_EXISTS)? {
        0 => bail!("no number was found to be taken: the previous kernel left {:?}", context.options.domains),
        count => Ok(Outcome::Pass(format!("{count} numbers, of domains {:?}", context.options.domains))),
    }
}

/// Kernels that follow one another do not pile up domains.
pub fn domains_are_bounded(context: &mut Context<'_>) -> Result<Outcome> {
    let live = minihv(context)?.counter(Counter::LiveDomains, 0)?;
    let (kernel, functions) = (context.options.kernel, context.functions.len() as u64);
    let most = (kernel - 1) * LEFT_DOMAINS + STATIC_DOMAINS + functions;
    if live > most {
        bail!("{live} domains live under kernel {kernel} with {functions} functions; expected {most} at most");
    }
    Ok(Outcome::Pass(format!("{live} domains live, {most} at most")))
}

/// This is the kernel after a crash, and it has the memory of the crashed one to look at.
pub fn is_crash_kernel(_: &mut Context<'_>) -> Result<Outcome> {
    let bytes = fs::metadata("/proc/vmcore").context("/proc/vmcore")?.len();
    if bytes == 0 {
        bail!("/proc/vmcore is empty");
    }
    Ok(Outcome::Pass(format!("/proc/vmcore has {} MiB", bytes >> 20)))
}

/// No table of the crashed kernel, whose devices were attached until this one took them over, maps memory of this one.
pub fn old_tables_spare_this_kernel(context: &mut Context<'_>) -> Result<Outcome> {
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

/// The host offers the disk again that it withdrew when the kernel before crashed.
pub fn disk_comes_back(context: &mut Context<'_>) -> Result<Outcome> {
    let back = hotplug::offer(minihv(context)?, DISK_BUS, 1)?;
    let controller = back.first().context("no function")?;
    let compared = blockio::verify(&hotplug::namespace(controller)?)?;
    Ok(Outcome::Pass(format!("{} KiB compared", compared >> 10)))
}
