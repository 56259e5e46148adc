// SPDX-License-Identifier: GPL-2.0
//! Processors that go and come back while devices are at work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::VFIO_STALE;
use crate::disk;
use crate::memory::PAGE;
use crate::processors::{online, switch, State};
use crate::report::Outcome;
use crate::witness::Witness;

/// Where the mappings come and go.
const WINDOW: Iova = Iova(0x21_0000_0000);
/// Pages that are mapped and unmapped one by one between two transfers.
const PAGES: usize = 32;

/// All processors but the first go, and come back, `rounds` times.
fn cycle(rounds: u64) -> Result<u64> {
    let all = online()?;
    let (first, others) = all.split_first().context("no processor is online")?;
    if others.is_empty() {
        bail!("there is one processor only");
    }
    let mut refusals = 0;
    for _ in 0..rounds {
        for &cpu in others {
            refusals += switch(cpu, State::Offline)?;
        }
        if online()? != [*first] {
            bail!("processors {:?} are online, expected {first} alone", online()?);
        }
        for &cpu in others {
            refusals += switch(cpu, State::Online)?;
        }
        if online()? != all {
            bail!("processors {:?} are online, expected {all:?}", online()?);
        }
    }
    Ok(refusals)
}

/// Maps and unmaps pages, and lets the device use one of them, until `done`; returns the number of mappings.
fn remap(witness: &Witness, done: &AtomicBool) -> Result<u64> {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        for page in 0..PAGES {
            let iova = Iova(WINDOW.0 + (page * PAGE) as u64);
            witness.session.map(iova, &witness.buffer, page, 1).context("map")?;
            if page == 0 {
                let value = count as u8;
                witness.buffer.fill(0, value);
                witness.edu.load(iova)?;
                witness.buffer.fill(0, !value);
                witness.edu.store(iova)?;
                witness.buffer.expect(0, value, "the page that edu wrote")?;
            }
            witness.session.unmap(iova, 1)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Processors go and come back while the NVMe controller does I/O and VFIO maps, unmaps and does DMA.
fn hotplug(context: &mut Context<'_>) -> Result<Outcome> {
    let rounds = context.options.rounds;
    let disk = context.nvme()?.first().context("no NVMe controller")?.nvme_namespace()?;
    let witness = Witness::open(context, PAGES)?;
    let (done, verified) = (AtomicBool::new(false), AtomicU64::new(0));
    let (refusals, io, mappings) = std::thread::scope(|scope| {
        let cycling = scope.spawn(|| {
            let result = cycle(rounds);
            done.store(true, Ordering::Relaxed);
            result
        });
        let io = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                verified.fetch_add(disk::verify(&disk)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let mappings = remap(&witness, &done);
        (cycling.join(), io.join(), mappings)
    });
    let panicked = |_| anyhow::anyhow!("a thread panicked");
    let refusals = refusals.map_err(panicked)??;
    io.map_err(panicked)?.context("NVMe")?;
    let (mappings, verified) = (mappings.context("VFIO")?, verified.into_inner());
    if mappings == 0 || verified == 0 {
        bail!("nothing happened meanwhile: {mappings} mappings, {verified} bytes compared");
    }
    Ok(Outcome::Pass(format!(
        "{rounds} rounds, {refusals} times put off; {mappings} mappings, {} KiB compared",
        verified >> 10
    )))
}

pub const CPU_HOTPLUG: Check = Check::new("processors-go-and-come-back", hotplug);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "cpu-hotplug",
    summary: "processors go and come back",
    checks: &[DEVICES, GROUPS, CPU_HOTPLUG, NO_FAULTS, VFIO_STALE, VIOLATIONS],
}];
