// SPDX-License-Identifier: GPL-2.0
//! DMA that is under way when one kernel gives way to the next.
//!
//! Memory that both kernels were told to leave alone (`memmap=`) is the target: no kernel writes to it, so what it holds
//! is the device's doing. The first kernel keeps starting transfers until its processors stop, or until the host takes the
//! device out of the program's reach, which happens first where pci-hyperv gives the bus back at shutdown. None of them may
//! arrive.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::{Iova, LogicalDeviceId};
use hvprotocol::faults::Provoked;
use linkme::distributed_slice;

use super::module::{reserved, Module};
use super::rig::{Gate, Rig, Shot};
use super::table;
use super::table::{Direction, Expected, Machine, Row, Seen};
use super::window::{page_of, Arena};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::kexec::SUCCESSOR_LOADED;
use crate::edu::{Edu, Length, BAR_BYTES};
use crate::faults::{announce, Faults};
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::MinihvFault;
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};

/// The page that the device must not reach: it is not mapped.
const TARGET: usize = 0x1_0000;
/// Notes of the first kernel.
const NOTES: usize = 0x2_0000;
/// Words of the notes: that they are notes; how many transfers were started; how many faults they made; the device; whether
/// the program has lost it.
const MAGIC: u64 = 0x6876_6174_7461_636b;
const OUT_OF_REACH: u64 = 1;
const CANARY: u8 = 0x11;

/// Starts transfers to the reserved page, one after the other, until this kernel ends.
fn keep_firing(context: &mut Context<'_>, machine: Machine) -> Result<Outcome> {
    let module = reserved()?;
    let function = pci::find(pci::EDU)?;
    let session = Session::open_by(&function, BackEnd::Type1)?;
    session.enable_bus_master()?;
    let buffer = DmaBuffer::new(1)?;
    let gate = crate::witness::at(0);
    session.map(gate, &buffer, 0, 1)?;
    buffer.fill(0, 0xd7);
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    // Without protection nothing is mapped; what the device holds at first differs from the page, too.
    if let Machine::Protected = machine {
        edu.load(gate)?;
    }
    let mut faults = Faults::listen(context.minihv)?;
    let target = Iova(module.physical() + TARGET as u64);
    module.window(TARGET..TARGET + PAGE).fill(CANARY);
    module.window(NOTES..NOTES + PAGE).fill(0);
    edu.store(target)?;
    let seen = module.window(TARGET..TARGET + PAGE).count(|byte| byte != CANARY);
    let fault = faults.take_of(&function)? > 0;
    match machine {
        Machine::Protected => ensure!(seen == 0 && fault, "the page was reached before the jump: {seen} bytes"),
        Machine::Unprotected => ensure!(seen == PAGE && !fault, "the page was not reached before the jump"),
    }
    module.window(NOTES..NOTES + PAGE).set_word(0, MAGIC);
    // Nobody counts those to come: the next kernel begins without a listener.
    let device = function.logical_id().context("edu has no logical id")?;
    announce(&Provoked::some(device, target..=target, 0..=1 << 20));
    module.window(NOTES..NOTES + PAGE).set_word(3, device.0);
    module.window(TARGET..TARGET + PAGE).fill(CANARY);
    // The device, its mapping and the threads stay to the very end.
    std::mem::forget((session, buffer));
    let log = reserved()?;
    std::thread::spawn(move || {
        let notes = log.window(NOTES..NOTES + PAGE);
        for seen in std::iter::repeat_with(|| faults.take_all().unwrap_or(0)) {
            notes.set_word(2, notes.word(2) + seen as u64);
            // A kernel that leaves switches bus mastering off; this program does not want to be stopped.
            let _ = function.set_bus_master();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    std::thread::spawn(move || {
        let begun = Instant::now();
        let notes = module.window(NOTES..NOTES + PAGE);
        for started in 1_u64.. {
            if !edu.is_there() {
                notes.set_word(4, OUT_OF_REACH);
                break;
            }
            notes.set_word(1, started);
            edu.start_store(target, Length::PAGE);
            while edu.is_busy() && edu.is_there() && begun.elapsed().as_secs() < 600 {
                std::hint::spin_loop();
            }
        }
    });
    Ok(Outcome::Pass(format!("transfers to {:#x} until the end", target.0)))
}

const ATTACK_KEEP_FIRING: Check = Check::new("attack-under-way", |c| keep_firing(c, Machine::Protected));
const ATTACK_KEEP_FIRING_BARE: Check = Check::new("attack-under-way", |c| keep_firing(c, Machine::Unprotected));

/// The next kernel, with the reserved memory as it is found.
struct Arrived {
    module: Module,
    /// What the device tried since the kernel before took its faults for the last time.
    faults: Vec<MinihvFault>,
}

fn table() -> Vec<Row<Arrived>> {
    vec![Row::new("kexec-under-way-write", Expected::Blocked, |arrived: &mut Arrived| {
        let notes = arrived.module.window(NOTES..NOTES + PAGE);
        ensure!(notes.word(0) == MAGIC, "the notes of the kernel before are gone");
        let (started, taken, device) = (notes.word(1), notes.word(2), LogicalDeviceId(notes.word(3)));
        ensure!(started > 0, "the kernel before started no transfer");
        let is_over = notes.word(4) == OUT_OF_REACH;
        let target = Iova(arrived.module.physical() + TARGET as u64);
        let is_its = |fault: &&MinihvFault| {
            (fault.device, fault.is_read) == (Some(device), false)
                && target.0 <= fault.iova.0
                && fault.iova.0 < target.0 + PAGE as u64
        };
        let late = arrived.faults.iter().filter(is_its).count();
        let bytes = arrived.module.window(TARGET..TARGET + PAGE).count(|byte| byte != CANARY);
        let end = if is_over { "the host took the device out of reach" } else { "the processors stopped" };
        let note = format!("{started} transfers until {end}; {taken} faults before that, {late} after");
        Ok(Seen::new(bytes, taken > 0 || late > 0).noted(note))
    })]
}

/// The reserved page is as the kernel before left it, and the transfer that was under way is reported.
fn nothing_arrived(context: &mut Context<'_>, machine: Machine) -> Result<Outcome> {
    let minihv = context.minihv()?;
    // Before anything else: whoever listens from now on passes them over.
    let faults = std::iter::from_fn(|| minihv.next_fault().transpose()).collect::<Result<Vec<_>>>()?;
    let mut arrived = Arrived { module: reserved()?, faults };
    table::run(context, "attack-kexec", machine, &mut arrived, &table())
}

const ATTACK_NOTHING_ARRIVED: Check = Check::new("attack-kexec", |c| nothing_arrived(c, Machine::Protected));
const ATTACK_ARRIVED: Check = Check::new("attack-kexec", |c| nothing_arrived(c, Machine::Unprotected));

/// The device can write the reserved page when it is allowed to: the row above is able to fail.
fn reserved_can_be_reached(context: &mut Context<'_>) -> Result<Outcome> {
    let module = reserved()?;
    let function = pci::find(pci::EDU)?;
    let session = Session::open_by(&function, BackEnd::Type1)?;
    session.enable_bus_master()?;
    let gate = Gate { offset: TARGET, iova: Iova(module.physical() + TARGET as u64) };
    session.map_range(gate.iova, module.pages(TARGET, PAGE)).context("mapping reserved memory")?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let mut rig = Rig::new(function, edu, Faults::listen(context.minihv)?);
    let aim = Some(TARGET..TARGET + PAGE);
    let watch = vec![page_of(TARGET)];
    let shot = Shot { direction: Direction::Write, target: gate.iova, length: PAGE, watch, aim };
    let seen = rig.attack(&module, gate, &shot)?;
    ensure!(seen.bytes == PAGE, "the page cannot be reached at all: {seen:?}");
    Ok(Outcome::Pass(String::new()))
}

const ATTACK_RESERVED: Check = Check::new("reserved-memory-can-be-reached", reserved_can_be_reached);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "attack-kexec",
        summary: "leaves for the next kernel while edu does DMA",
        checks: &[DEVICES, GROUPS, ATTACK_RESERVED, ATTACK_KEEP_FIRING, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "attack-kexec-bare",
        summary: "the same without protection",
        checks: &[DEVICES, GROUPS, ATTACK_RESERVED, ATTACK_KEEP_FIRING_BARE, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "attack-kexec-arrived-bare",
        summary: "the next kernel without protection: the row of attack-kexec-arrived must fail",
        checks: &[ATTACK_ARRIVED],
    },
    Scenario {
        name: "attack-kexec-arrived",
        summary: "the next kernel: nothing arrived",
        checks: &[ATTACK_NOTHING_ARRIVED, DEVICES, GROUPS, ATTACK_RESERVED],
    },
];
