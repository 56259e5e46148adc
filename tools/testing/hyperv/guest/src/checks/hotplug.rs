// SPDX-License-Identifier: GPL-2.0
//! Devices that come and go while others, or they themselves, do I/O.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{BusIndex, Iova, LogicalDeviceId};
use hvprotocol::faults::Provoked;
use linkme::distributed_slice;

use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::checks::nvme::NVME_QUICK;
use crate::checks::observe::DEBUGFS_DEVICES;
use crate::disk;
use crate::faults::announce;
use crate::hotplug::{bind, eject, functions, namespace, offer, wait_until, withdraw};
use crate::memory::DmaBuffer;
use crate::minihv::{DeviceTranslation, Minihv, Plug};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, Witness, FROM_DEVICE};

/// A note in the report after so many cycles.
const NOTE_EVERY: u64 = 10;
/// Of so many cycles, one is the NVMe controller's: its driver learns of a loss by commands that time out only, as
/// pci-hyperv goes on answering for the vendor id.
const NVME_EVERY: u64 = 5;
/// Fewest cycles in which devices are torn out.
const SURPRISES: u64 = NVME_EVERY;

/// How a device goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Its bus is withdrawn.
    Withdrawn,
    /// The guest is asked for it, and gives it; its bus is withdrawn then.
    Ejected,
    /// It fails, as if torn out, and its bus is withdrawn then.
    Torn,
}

impl Farewell {
    /// Says it; returns when the guest has let go of the device and its bus.
    fn say(self, minihv: Minihv, function: &PciFunction) -> Result<BusIndex> {
        let bus = function.bus().context("the function does not sit on a VMBus device")?;
        match self {
            Farewell::Withdrawn => withdraw(minihv, function),
            Farewell::Ejected => {
                eject(minihv, function)?;
                minihv.rescind(bus)?;
                Ok(bus)
            }
            Farewell::Torn => {
                minihv.plug(bus, Plug::Unplugged)?;
                withdraw(minihv, function)
            }
        }
    }
}

/// The function is in a group with the default domain that the mode asks for, and behind a table of its own.
///
/// # Errors
/// When it is not, or does not come to be.
pub fn is_managed(context: &Context<'_>, function: &PciFunction) -> Result<()> {
    wait_until(&format!("{} is in a group", function.address), || Ok(function.group().is_some()))?;
    let group = function.group().context("the group is gone")?;
    let path = format!("/sys/kernel/iommu_groups/{group}/type");
    let kind = fs::read_to_string(&path).context(path)?;
    let expected = context.options.mode.group_type().context("this mode has no groups")?;
    if kind.trim() != expected {
        bail!("{}: domain type {:?} instead of {expected:?}", function.address, kind.trim());
    }
    let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
    match context.minihv()?.device_translation(id)? {
        DeviceTranslation::Stage1(_) => Ok(()),
        other => bail!("{}: translation is {other:?}", function.address),
    }
}

/// The function, an edu, does DMA through what VFIO maps for it. It is left to nobody.
///
/// # Errors
/// When it does not.
pub fn edu_works(context: &Context<'_>, function: &PciFunction) -> Result<()> {
    bind(function, "vfio-pci")?;
    let session = Session::open_by(function, BackEnd::Type1)?;
    let witness = Witness::new(context, function.clone(), session, DmaBuffer::new(1)?)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page that the device wrote")
}

/// The only function of a bus.
///
/// # Errors
/// When there is none, or more than one.
pub fn only(bus: BusIndex) -> Result<PciFunction> {
    match functions(bus)?.as_slice() {
        [function] => Ok(function.clone()),
        all => bail!("{} functions on bus {}", all.len(), bus.0),
    }
}

/// edu comes and goes, and works then.
fn cycle_edu(context: &Context<'_>, minihv: Minihv, bus: BusIndex, farewell: Farewell) -> Result<()> {
    farewell.say(minihv, &only(bus)?).with_context(|| format!("edu, {farewell:?}"))?;
    offer(minihv, bus, 1)?;
    let function = only(bus)?;
    is_managed(context, &function)?;
    edu_works(context, &function).context("edu after its return")?;
    function.unbind()
}

/// The controller goes in the middle of I/O, comes back, and works.
fn cycle_busy_nvme(context: &Context<'_>, minihv: Minihv, bus: BusIndex, farewell: Farewell) -> Result<()> {
    let function = only(bus)?;
    let disk = namespace(&function)?;
    let rounds = AtomicU64::new(0);
    let said = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let io = scope.spawn(|| loop {
            match disk::verify_rounds(&disk, 1) {
                Ok(_) => rounds.fetch_add(1, Ordering::Relaxed),
                // The controller is gone, or it is broken.
                Err(_) if said.load(Ordering::Relaxed) => return Ok(()),
                Err(error) => return Err(error),
            };
        });
        wait_until("I/O runs", || Ok(rounds.load(Ordering::Relaxed) > 0 || io.is_finished()))?;
        said.store(true, Ordering::Relaxed);
        let gone = farewell.say(minihv, &function);
        let io = io.join().unwrap_or_else(|_| bail!("the I/O thread panicked"));
        io.context("before the controller went")?;
        gone.with_context(|| format!("NVMe, {farewell:?}")).map(|_| ())
    })?;
    offer(minihv, bus, 1)?;
    let function = only(bus)?;
    is_managed(context, &function)?;
    disk::verify_rounds(&namespace(&function)?, 1).context("after the controller came back")?;
    Ok(())
}

/// Most faults of a controller that goes in the middle of I/O, each time.
const CUT_OFF: u64 = 64;

/// Announces the faults of a device that was cut off in the middle of DMA so often.
fn announce_cut_off(device: LogicalDeviceId, times: u64) -> Result<()> {
    let at_most = usize::try_from(times * CUT_OFF)?;
    announce(&Provoked::some(device, Iova(0)..=Iova(u64::MAX), 0..=at_most));
    Ok(())
}

/// Takes the faults that were reported; all must be those of devices that were in the middle of DMA when they went.
fn take_faults_of(minihv: Minihv, devices: &[LogicalDeviceId]) -> Result<u64> {
    let mut count = 0;
    while let Some(fault) = minihv.next_fault()? {
        if !fault.device.is_some_and(|device| devices.contains(&device)) {
            bail!("a DMA fault of a device that was not touched: {fault:x?}");
        }
        count += 1;
    }
    Ok(count)
}

/// The one that comes and goes, and the one that stays.
fn controllers(context: &Context<'_>) -> Result<[PciFunction; 2]> {
    match context.nvme()?.as_slice() {
        [going, staying] => Ok([going.clone(), staying.clone()]),
        all => bail!("{} NVMe controllers instead of 2", all.len()),
    }
}

/// edu and a busy NVMe controller go and come back, `rounds` times altogether, during another controller's I/O.
fn come_and_go(context: &mut Context<'_>, rounds: u64, farewells: &[Farewell]) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let [going, staying] = controllers(context)?;
    let [edu, nvme] = [pci::find(pci::EDU)?.bus(), going.bus()].map(|bus| bus.context("no VMBus device"));
    let (edu, nvme) = (edu?, nvme?);
    let disk = namespace(&staying)?;
    let before = Census::take(minihv)?;
    let (stop, verified) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| -> Result<()> {
        let other = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                verified.fetch_add(disk::verify_rounds(&disk, 1)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let result = (1..=rounds).try_for_each(|round| {
            let farewell = |turn: u64| farewells[turn as usize % farewells.len()];
            let what = || format!("cycle {round}");
            match round % NVME_EVERY {
                0 => cycle_busy_nvme(context, minihv, nvme, farewell(round / NVME_EVERY)).with_context(what)?,
                _ => cycle_edu(context, minihv, edu, farewell(round)).with_context(what)?,
            }
            if round % NOTE_EVERY == 0 {
                context.reporter.note(&format!("{round} cycles"));
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let other = other.join().unwrap_or_else(|_| bail!("the I/O thread panicked"));
        result.and(other.context("I/O on a device that stays"))
    })?;
    before.wait_for_return(minihv)?;
    let going = going.logical_id().context("no logical id")?;
    announce_cut_off(going, rounds / NVME_EVERY)?;
    let faults = take_faults_of(minihv, &[going])?;
    let verified = verified.into_inner();
    if verified == 0 {
        bail!("there was no I/O on the device that stays");
    }
    let kib = verified >> 10;
    Ok(Outcome::Pass(format!(
        "{rounds} times, every {NVME_EVERY}th NVMe, else edu; {kib} KiB compared meanwhile; {faults} faults cut off"
    )))
}

/// Devices are withdrawn or ejected, and offered again, while there is I/O on them and on another one.
fn cycles(context: &mut Context<'_>) -> Result<Outcome> {
    come_and_go(context, context.options.rounds, &[Farewell::Withdrawn, Farewell::Ejected])
}

const HOTPLUG_CYCLES: Check = Check::new("devices-come-and-go", cycles);

/// Devices fail in the middle of I/O, as if they were torn out, and the host then says so.
fn surprise(context: &mut Context<'_>) -> Result<Outcome> {
    come_and_go(context, (context.options.rounds / 10).max(SURPRISES), &[Farewell::Torn])
}

const SURPRISE: Check = Check::new("device-torn-out", surprise);

/// Two edu that share a container, each by its own registers.
fn both_work(context: &Context<'_>, all: &[PciFunction]) -> Result<()> {
    let [first, second] = all else { bail!("{} functions instead of 2", all.len()) };
    bind(second, "vfio-pci")?;
    bind(first, "vfio-pci")?;
    let session = Session::open_by(first, BackEnd::Type1)?;
    let device = session.type1()?.take(second).context("the second function of the group")?;
    device.enable_bus_master()?;
    let other = crate::edu::Edu::new(device.map_bar0()?)?;
    let witness = Witness::new(context, first.clone(), session, DmaBuffer::new(2)?)?;
    witness.session.map(at(0), &witness.buffer, 0, 2)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page that the first function wrote")?;
    witness.buffer.fill(0, !FROM_DEVICE);
    other.load(at(0))?;
    other.store(at(1))?;
    witness.buffer.expect(1, !FROM_DEVICE, "the page that the second function wrote")
}

/// The functions of one bus: ids that differ in the function number, one group as the core decides without access
/// control between functions, DMA of each, gone one by one and all together.
fn multi_function(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let is_second = |f: &&PciFunction| f.address.ends_with(".1");
    let second = context.functions.iter().find(is_second).context("no second function")?;
    let bus = second.bus().context("no VMBus device")?;
    for farewell in [Farewell::Withdrawn, Farewell::Ejected] {
        let all = functions(bus)?;
        let ids: Vec<u64> = all.iter().filter_map(|f| Some(f.logical_id()?.0)).collect();
        let [a, b] = ids[..] else { bail!("{} functions on bus {}", ids.len(), bus.0) };
        if a & 7 != 0 || b != a + 1 {
            bail!("logical ids {ids:x?} do not count up");
        }
        for function in &all {
            is_managed(context, function)?;
        }
        if all[0].group() != all[1].group() {
            bail!("groups {:?} and {:?}: nothing keeps the functions apart", all[0].group(), all[1].group());
        }
        both_work(context, &all).with_context(|| format!("before they are {farewell:?}"))?;
        if farewell == Farewell::Ejected {
            eject(minihv, &all[1])?;
            edu_works(context, &all[0]).context("after the second function was ejected")?;
            eject(minihv, &all[0])?;
            minihv.rescind(bus)?;
        } else {
            withdraw(minihv, &all[0])?;
        }
        offer(minihv, bus, 2)?;
    }
    let all = functions(bus)?;
    both_work(context, &all).context("after the return")?;
    all.iter().try_for_each(PciFunction::unbind)?;
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!("{} and {}", all[0].address, all[1].address)))
}

const MULTI_FUNCTION: Check = Check::new("functions-of-one-bus", multi_function);

/// Two buses that ask for the same PCI domain number get different ones, and keep their own devices apart.
fn colliding_numbers(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let singles = context.functions.iter().filter(|f| f.address.ends_with(".0") && f.id == pci::EDU);
    let all: Vec<PciFunction> = singles.cloned().collect();
    let wanted = |f: &PciFunction| f.logical_id().map(|id| id.0 >> 16);
    let same = |f: &&PciFunction| all.iter().filter(|other| wanted(other) == wanted(f)).count() == 2;
    let [first, second] = all.iter().filter(same).collect::<Vec<_>>()[..] else {
        bail!("no two of {} buses ask for the same number", all.len())
    };
    let domain = |f: &PciFunction| f.address.split(':').next().map(str::to_owned);
    let apart = |a: &PciFunction, b: &PciFunction| domain(a) != domain(b) && a.logical_id() != b.logical_id();
    if !apart(first, second) {
        bail!("{} and {} are not told apart", first.address, second.address);
    }
    for function in [first, second] {
        is_managed(context, function)?;
        edu_works(context, function).with_context(|| function.address.clone())?;
    }
    // One goes, and the other stays as it is.
    let one = withdraw(minihv, first)?;
    edu_works(context, second).context("while the first one is away")?;
    offer(minihv, one, 1)?;
    edu_works(context, &only(one)?).context("after it came back")?;
    // Both go and come back the other way round: the number that the first one had is the second one's then.
    withdraw(minihv, &only(one)?)?;
    let two = withdraw(minihv, second)?;
    offer(minihv, two, 1)?;
    offer(minihv, one, 1)?;
    let back = [only(one)?, only(two)?];
    if !apart(&back[0], &back[1]) || domain(&back[1]) != domain(first) {
        bail!("{} and {} came back as {} and {}", first.address, second.address, back[0].address, back[1].address);
    }
    for function in &back {
        is_managed(context, function)?;
        edu_works(context, function).with_context(|| format!("{} after its return", function.address))?;
        function.unbind()?;
    }
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass(format!(
        "{} and {}, then {} and {}",
        first.address, second.address, back[0].address, back[1].address
    )))
}

const COLLIDING_NUMBERS: Check = Check::new("colliding-domain-numbers", colliding_numbers);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "hotplug",
        summary: "edu and one of two NVMe controllers come and go under I/O; hvtest.rounds= says how often",
        checks: &[DEVICES, GROUPS, HOTPLUG_CYCLES, DEBUGFS_DEVICES, NO_FAULTS, NVME_QUICK, KMEMLEAK, VIOLATIONS],
    },
    Scenario {
        name: "surprise-removal",
        summary: "the same, of devices that fail before the host withdraws them",
        checks: &[DEVICES, GROUPS, SURPRISE, NO_FAULTS, NVME_QUICK, VIOLATIONS],
    },
    Scenario {
        name: "buses",
        summary: "a bus with two functions, and two buses that ask for one PCI domain number",
        checks: &[DEVICES, GROUPS, MULTI_FUNCTION, COLLIDING_NUMBERS, NO_FAULTS, VIOLATIONS],
    },
];
