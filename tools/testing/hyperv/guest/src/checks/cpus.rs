// SPDX-License-Identifier: GPL-2.0
//! Processors that go and come back while devices are at work.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;

use crate::bench::Bench;
use crate::blockio;
use crate::memory::PAGE;
use crate::report::Outcome;
use crate::scenario::Context;

const CPUS: &str = "/sys/devices/system/cpu";
/// Where the mappings come and go.
const WINDOW: Iova = Iova(0x21_0000_0000);
/// Pages that are mapped and unmapped one by one between two transfers.
const PAGES: usize = 32;
/// How often a processor is asked to go that the kernel keeps because an event is on its way to it.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Numbers in a list such as `0-2,5`.
fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

fn online() -> Result<Vec<u32>> {
    let path = format!("{CPUS}/online");
    let text = fs::read_to_string(&path).context(path.clone())?;
    parse_list(&text).with_context(|| format!("{path}: {text}"))
}

/// Switches a processor off or on; returns how often the kernel put it off.
fn switch(cpu: u32, state: &str) -> Result<u64> {
    let path = PathBuf::from(format!("{CPUS}/cpu{cpu}/online"));
    for refusals in 0..ATTEMPTS {
        match fs::write(&path, state) {
            Ok(()) => return Ok(u64::from(refusals)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error).with_context(|| format!("writing {state} to {}", path.display())),
        }
    }
    bail!("processor {cpu} is still busy after {ATTEMPTS} attempts")
}

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
            refusals += switch(cpu, "0")?;
        }
        if online()? != [*first] {
            bail!("processors {:?} are online, expected {first} alone", online()?);
        }
        for &cpu in others {
            refusals += switch(cpu, "1")?;
        }
        if online()? != all {
            bail!("processors {:?} are online, expected {all:?}", online()?);
        }
    }
    Ok(refusals)
}

/// Maps and unmaps pages, and lets the device use one of them, until `done`; returns the number of mappings.
fn remap(bench: &Bench, done: &AtomicBool) -> Result<u64> {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        for page in 0..PAGES {
            let iova = Iova(WINDOW.0 + (page * PAGE) as u64);
            bench.session.map(iova, &bench.buffer, page, 1).context("map")?;
            if page == 0 {
                let value = count as u8;
                bench.buffer.fill(0, value);
                bench.edu.load(iova)?;
                bench.buffer.fill(0, !value);
                bench.edu.store(iova)?;
                bench.buffer.expect(0, value, "the page that edu wrote")?;
            }
            bench.session.unmap(iova, 1)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Processors go and come back while the NVMe controller does I/O and VFIO maps, unmaps and does DMA.
pub fn hotplug(context: &mut Context<'_>) -> Result<Outcome> {
    let rounds = context.options.rounds;
    let disk = context.nvme()?.first().context("no NVMe controller")?.nvme_namespace()?;
    let bench = Bench::open(context, PAGES)?;
    let (done, verified) = (AtomicBool::new(false), AtomicU64::new(0));
    let (refusals, io, mappings) = std::thread::scope(|scope| {
        let cycling = scope.spawn(|| {
            let result = cycle(rounds);
            done.store(true, Ordering::Relaxed);
            result
        });
        let io = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                verified.fetch_add(blockio::verify(&disk)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let mappings = remap(&bench, &done);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(parse_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("0\n"), Some(vec![0]));
        assert_eq!(parse_list("a-b"), None);
    }
}
