// SPDX-License-Identifier: GPL-2.0
//! A program touches a device's memory while another thread resets the device, and processors go and come back. The
//! locks of VFIO, of the IOMMU core and of processors meet here, and lockdep watches them; with counters those of
//! performance events, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{anyhow, ensure, Context as _, Result};
use linkme::distributed_slice;
use nix::errno::Errno;
use nix::sys::resource::{getrusage, UsageWho};

use super::reset::{Guarding, Subject};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::ats::ATS_ON;
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::hotplug::wait_until;
use crate::mmio::MappedBar;
use crate::perf::{Counter, Target};
use crate::processors::{online, switch, State};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::vfio::Device;

/// virtio's registers are in this BAR, and begin with the common configuration.
const REGISTERS: u32 = 4;
/// Which word of its features the device shows; a reset selects the first one, if it changes that at all.
const FEATURES_SELECT: usize = 0;
/// The word, which does not change.
const FEATURES: usize = 4;
/// What a device without memory decoding answers.
const NO_ANSWER: u32 = u32::MAX;

/// What else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Besides {
    /// Nothing.
    Nothing,
    /// Counters of performance events are read.
    Counters,
}

/// What was done in the time that the processors took.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    resets: u64,
    touches: u64,
    faults: i64,
    counters: u64,
}

/// Page faults of this thread so far.
fn page_faults() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD).context("getrusage")?.minor_page_faults())
}

/// Reads a register until `stop`; it always has the same content. Tells how often, and how many page faults that took.
fn touch(registers: &MappedBar, stop: &AtomicBool) -> Result<(u64, i64)> {
    registers.write32(FEATURES_SELECT, 0);
    let (expected, before) = (registers.read32(FEATURES), page_faults()?);
    ensure!(expected != NO_ANSWER && expected != 0, "the register holds {expected:#x}");
    let mut touches = 0;
    while !stop.load(Ordering::Relaxed) {
        let seen = registers.read32(FEATURES);
        ensure!(seen == expected, "the register held {expected:#x}, and reads {seen:#x}");
        touches += 1;
    }
    Ok((touches, page_faults()? - before))
}

fn reset(device: &Device, stop: &AtomicBool) -> Result<u64> {
    let mut resets = 0;
    while !stop.load(Ordering::Relaxed) {
        device.reset().context("VFIO_DEVICE_RESET")?;
        resets += 1;
    }
    Ok(resets)
}

/// Opens and reads a counter of a processor that comes and goes, and reads one of this thread, which only grows.
fn count(cpu: u32, stop: &AtomicBool) -> Result<u64> {
    let own = Counter::open(Target::ThisThread).context("a counter of this thread")?;
    let (mut last, mut reads) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let now = own.read()?;
        ensure!(now >= last, "a counter went from {last} back to {now}");
        last = now;
        match Counter::open(Target::Processor(cpu)) {
            Ok(counter) => {
                counter.read()?;
                reads += 1;
            }
            Err(Errno::ENODEV) => {}
            Err(error) => return Err(error).with_context(|| format!("a counter of processor {cpu}")),
        }
    }
    Ok(reads)
}

/// A processor goes and comes back so often.
fn cycle(cpu: u32, rounds: u64) -> Result<()> {
    for _ in 0..rounds {
        switch(cpu, State::Offline)?;
        switch(cpu, State::Online)?;
    }
    Ok(())
}

fn join<T>(handle: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// All of it at once, until the processor has gone and come back `rounds` times.
fn all_at_once(device: &Device, registers: MappedBar, cpu: u32, rounds: u64, besides: Besides) -> Result<Done> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let touching = scope.spawn(move || touch(&registers, stop));
        let resetting = scope.spawn(|| reset(device, stop));
        let counting = scope.spawn(move || match besides {
            Besides::Nothing => Ok(0),
            Besides::Counters => count(cpu, stop),
        });
        let cycled = cycle(cpu, rounds);
        stop.store(true, Ordering::Relaxed);
        let (touched, resets, counters) = (join(touching), join(resetting), join(counting));
        cycled?;
        let (touches, faults) = touched.context("touching")?;
        Ok(Done { resets: resets?, touches, faults, counters: counters.context("counting")? })
    })
}

/// By both interfaces: no lock is taken in the wrong order, and the device is as it was.
fn run(context: &mut Context<'_>, besides: Besides) -> Result<Outcome> {
    let processors = online()?;
    let cpu = *processors.get(1).context("there is one processor only")?;
    let function = super::ats::subject(context)?.0;
    let subject = Subject::new(context, function.clone(), Guarding::Blocked)?;
    for back_end in BackEnd::ALL {
        let session = Session::open_by(&function, back_end)?;
        session.enable_bus_master()?;
        let domain = subject.domain().context("before")?;
        let registers = session.device().map_bar(REGISTERS)?;
        let done = all_at_once(session.device(), registers, cpu, context.options.rounds, besides)
            .with_context(|| format!("{back_end:?}"))?;
        ensure!(done.resets > 1 && done.touches > 0 && done.faults > 0, "too little: {done:?}");
        ensure!((done.counters > 0) == (besides == Besides::Counters), "{besides:?}, and {done:?}");
        context.reporter.note(&format!("{back_end:?}: {done:?}"));
        let now = subject.domain().context("after")?;
        ensure!(now == domain, "{back_end:?}: in domain {} before, in {} after", domain.0, now.0);
    }
    ensure!(online()? == processors, "processors {:?} are online, expected {processors:?}", online()?);
    function.unbind()?;
    function.bind("virtio-pci")?;
    wait_until("ATS is on with its driver", || Ok(subject.domain().is_ok()))?;
    super::virtio::io(context).context("with its driver again")?;
    Ok(Outcome::Pass("by both interfaces; ATS on and in the same domain".to_owned()))
}

const RESET_TOUCHED: Check = Check::new("reset-of-a-device-that-is-touched", |c| run(c, Besides::Nothing));
const RESET_COUNTED: Check = Check::new("reset-while-counters-are-read", |c| run(c, Besides::Counters));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "ats-touched",
        summary: "a device is reset while a program touches it and processors come and go (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, ATS_ON, RESET_TOUCHED, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-counted",
        summary: "the same while counters of performance events are read",
        checks: &[DEVICES, GROUPS, ATS_ON, RESET_COUNTED, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
];
