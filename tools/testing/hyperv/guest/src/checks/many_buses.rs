// SPDX-License-Identifier: GPL-2.0
//! As many buses as the machine has room for: each device has names, a group and a domain of its own, and all of them
//! come and go while a controller does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::{BusIndex, DomainId, LogicalDeviceId};
use linkme::distributed_slice;

use super::hotplug::{edu_works, is_managed};
use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::checks::nvme::NVME_QUICK;
use crate::checks::observe::DEBUGFS_DEVICES;
use crate::checks::virtio::VIRTIO;
use crate::disk;
use crate::hotplug::{functions, namespace, offer, wait_until_empty, withdraw};
use crate::kernel_log::KernelLog;
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::processors;
use crate::report::Outcome;

/// What stays as it is when a device goes and comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The kernel's, which has the PCI domain number in it.
    pub address: String,
    /// The host's.
    pub id: LogicalDeviceId,
}

/// The functions by their bus, each of which has one.
pub type Inventory = BTreeMap<BusIndex, Name>;

/// Every element is there once.
fn distinct<T: Ord>(what: &str, all: impl ExactSizeIterator<Item = T>) -> Result<()> {
    let count = all.len();
    let different = all.collect::<BTreeSet<T>>().len();
    ensure!(different == count, "{count} functions have {different} different {what}");
    Ok(())
}

/// The functions of this guest; each has names, a group and a domain of its own.
///
/// # Errors
/// Says what is missing or shared.
pub fn inventory(context: &Context<'_>, minihv: Minihv) -> Result<Inventory> {
    let all = pci::wait_for_devices(context.options.devices)?;
    ensure!(all.len() == context.options.devices, "{} functions instead of {}", all.len(), context.options.devices);
    let mut found = Inventory::new();
    let (mut groups, mut domains): (Vec<u32>, Vec<DomainId>) = (Vec::new(), Vec::new());
    for function in &all {
        is_managed(context, function)?;
        let address = function.address.clone();
        let id = function.logical_id().with_context(|| format!("{address} has no logical id"))?;
        groups.push(function.group().with_context(|| format!("{address} has no group"))?);
        domains.push(minihv.device_domain(id)?.with_context(|| format!("{address} is in no domain"))?);
        let bus = function.bus().with_context(|| format!("{address} sits on no VMBus device"))?;
        let before = found.insert(bus, Name { address, id });
        ensure!(before.is_none(), "bus {} has several functions", bus.0);
    }
    let number = |name: &Name| name.address.split(':').next().map(str::to_owned);
    distinct("PCI domain numbers", found.values().map(number))?;
    distinct("logical ids", found.values().map(|name| name.id))?;
    distinct("groups", groups.into_iter())?;
    distinct("domains", domains.into_iter())?;
    Ok(found)
}

/// All devices are there, each on its own.
fn apart(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let found = inventory(context, minihv)?;
    for function in context.functions.iter().filter(|f| f.id == pci::EDU) {
        edu_works(context, function).with_context(|| function.address.clone())?;
        function.unbind()?;
    }
    Ok(Outcome::Pass(format!("{} buses, a name, a group and a domain each", found.len())))
}

const BUSES_APART: Check = Check::new("each-device-is-on-its-own", apart);

/// What the driver says when it is there.
const FIRST: &str = "hv_pviommu: aperture";
/// What the IOMMU core says of each device.
const LAST: &str = ": Adding to iommu group ";

/// Tells how long it took to get all devices behind the IOMMU, by the kernel's clock, without a judgement: from the
/// driver's first line to the core's last one.
fn tell_boot(context: &mut Context<'_>) -> Result<Outcome> {
    let records = KernelLog::records()?;
    let first = records.iter().find(|record| record.text.starts_with(FIRST));
    let last = records.iter().rfind(|record| record.text.contains(LAST));
    let first = first.with_context(|| format!("the kernel log has no {FIRST:?}"))?;
    let last = last.with_context(|| format!("the kernel log has no {LAST:?}"))?;
    let processors = processors::online()?.len();
    let (took, devices) = (last.microseconds.saturating_sub(first.microseconds), context.functions.len());
    Ok(Outcome::Pass(format!("{devices} devices, {processors} processors: {took} µs")))
}

const BUSES_BOOT: Check = Check::new("how-long-the-devices-took", tell_boot);

/// How devices go and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Journey {
    /// The host withdraws one bus after the other, and offers each at once.
    OneByOne,
    /// The administrator removes the functions, and has the kernel look for them again. The host is not involved.
    Sysfs,
    /// The host withdraws all buses, then offers all.
    Together,
}

/// One round each, in this order.
const JOURNEYS: [Journey; 3] = [Journey::OneByOne, Journey::Sysfs, Journey::Together];

impl Journey {
    fn make(self, minihv: Minihv, travellers: &[PciFunction]) -> Result<()> {
        match self {
            Journey::OneByOne => travellers.iter().try_for_each(|function| {
                let bus = withdraw(minihv, function)?;
                offer(minihv, bus, 1).map(|_| ())
            }),
            Journey::Sysfs => {
                for function in travellers {
                    function.remove()?;
                }
                pci::rescan()
            }
            Journey::Together => {
                let all = buses(travellers)?;
                all.iter().try_for_each(|&bus| minihv.rescind(bus))?;
                all.iter().try_for_each(|&bus| wait_until_empty(bus))?;
                all.iter().try_for_each(|&bus| offer(minihv, bus, 1).map(|_| ()))
            }
        }
    }
}

fn buses(of: &[PciFunction]) -> Result<Vec<BusIndex>> {
    of.iter().map(|function| function.bus().context("no VMBus device")).collect()
}

/// Does something during I/O on a controller; tells how many bytes were compared.
fn during_io(controller: &PciFunction, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let disk = namespace(controller)?;
    let (stop, compared) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let io = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                compared.fetch_add(disk::verify_rounds(&disk, 1)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let io = io.join().unwrap_or_else(|_| bail!("the I/O thread panicked"));
        result.and(io.context("I/O on a device that stays"))
    })?;
    match compared.into_inner() {
        0 => bail!("there was no I/O on the device that stays"),
        bytes => Ok(bytes),
    }
}

/// The controllers, one of which stays while all others go.
fn controllers(context: &Context<'_>) -> Result<[BusIndex; 2]> {
    match context.nvme()?.as_slice() {
        [first, second, ..] => Ok([first, second].map(PciFunction::bus).map(|bus| bus.context("no VMBus device"))),
        all => bail!("{} NVMe controllers instead of 2", all.len()),
    }
    .and_then(|[first, second]| Ok([first?, second?]))
}

fn only(bus: BusIndex) -> Result<PciFunction> {
    match functions(bus)?.as_slice() {
        [function] => Ok(function.clone()),
        all => bail!("{} functions on bus {}", all.len(), bus.0),
    }
}

/// All buses but the one of a controller that is at work go and come back, then that one, at the other one's work.
fn round(context: &Context<'_>, minihv: Minihv, journey: Journey, names: &Inventory) -> Result<u64> {
    let [first, second] = controllers(context)?;
    let others: Vec<BusIndex> = names.keys().copied().filter(|bus| *bus != first).collect();
    let mut bytes = 0;
    for (stays, go) in [(first, others), (second, vec![first])] {
        let travellers: Vec<PciFunction> = go.into_iter().map(only).collect::<Result<_>>()?;
        bytes += during_io(&only(stays)?, || {
            journey.make(minihv, &travellers)?;
            pci::wait_for_devices(context.options.devices).map(|_| ())
        })?;
        let now = inventory(context, minihv)?;
        ensure!(now == *names, "the names are {now:x?} instead of {names:x?}");
    }
    Ok(bytes)
}

/// Every bus goes and comes back, `rounds` times.
fn come_and_go(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let names = inventory(context, minihv)?;
    let before = Census::take(minihv)?;
    let rounds = context.options.rounds;
    let mut bytes = 0;
    for (number, journey) in (1..=rounds).zip(JOURNEYS.into_iter().cycle()) {
        bytes += round(context, minihv, journey, &names)
            .with_context(|| format!("round {number} of {rounds}, {journey:?}"))?;
        context.reporter.note(&format!("round {number} of {rounds}, {journey:?}"));
    }
    context.functions = pci::wait_for_devices(context.options.devices)?;
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("{} buses, {rounds} times each; {} KiB compared meanwhile", names.len(), bytes >> 10)))
}

const BUSES_COME_AND_GO: Check = Check::new("buses-come-and-go", come_and_go);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "many-buses",
        summary: "a machine full of buses: all come and go under I/O; hvtest.rounds= says how often",
        checks: &[
            DEVICES,
            GROUPS,
            BUSES_BOOT,
            BUSES_APART,
            BUSES_COME_AND_GO,
            DEBUGFS_DEVICES,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            KMEMLEAK,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "many-buses-boot",
        summary: "a machine full of buses boots",
        checks: &[DEVICES, GROUPS, BUSES_BOOT, BUSES_APART, DEBUGFS_DEVICES, NO_FAULTS, VIOLATIONS],
    },
];
