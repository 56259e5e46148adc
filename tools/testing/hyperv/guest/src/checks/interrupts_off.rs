// SPDX-License-Identifier: GPL-2.0
//! A domain with many devices cannot be flushed: they are blocked one by one, with interrupts on in between. How long
//! interrupts are off does not depend on how many devices there are.
//!
//! The kernel's own tracepoints tell when interrupts go off and on. With clocks that run on instructions, the figures are
//! instructions, of a kernel with all its checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;
use nix::unistd::gettid;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::iommufd::Space;
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::{DeviceTranslation, Injection, Minihv};
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};
use crate::witness::at;

const TRACING: &str = "/sys/kernel/tracing";
const EVENTS: [&str; 3] = ["preemptirq/irq_disable", "preemptirq/irq_enable", "hv_pviommu/hv_pviommu_block"];

fn file(name: &str) -> PathBuf {
    Path::new(TRACING).join(name)
}

/// What the thread's events tell of the time during which interrupts were off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Windows {
    /// Devices that were blocked.
    blocked: u64,
    /// The most of them without interrupts on in between.
    most: u64,
    /// The longest time without interrupts in which a device was blocked, by the time-stamp counter.
    longest: u64,
}

/// Reads a trace: `TASK-PID [CPU] FLAGS TIME: EVENT: ...`.
fn parse(trace: &str) -> Windows {
    let mut windows = Windows::default();
    // When interrupts went off, and how many devices were blocked since then.
    let mut open: Option<(u64, u64)> = None;
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace().skip_while(|word| !word.starts_with('[')).skip(1);
        let time = words.find_map(|word| word.strip_suffix(':')?.parse::<u64>().ok());
        let (Some(time), Some(event)) = (time, words.next()) else { continue };
        match event {
            "irq_disable:" => open = Some((time, 0)),
            "irq_enable:" => {
                if let Some((since, blocked)) = open.take().filter(|(_, blocked)| *blocked > 0) {
                    windows.most = windows.most.max(blocked);
                    windows.longest = windows.longest.max(time.saturating_sub(since));
                }
            }
            "hv_pviommu_block:" => {
                windows.blocked += 1;
                open = open.map(|(since, blocked)| (since, blocked + 1));
            }
            _ => {}
        }
    }
    windows
}

/// Records this thread's events while `work` is done.
fn record(work: impl FnOnce() -> Result<()>) -> Result<Windows> {
    let switch =
        |to: &str| EVENTS.iter().try_for_each(|event| write_sysfs(&file(&format!("events/{event}/enable")), to));
    write_sysfs(&file("tracing_on"), "0")?;
    write_sysfs(&file("trace_clock"), "x86-tsc")?;
    write_sysfs(&file("buffer_size_kb"), "8192")?;
    write_sysfs(&file("set_event_pid"), &gettid().to_string())?;
    switch("1")?;
    write_sysfs(&file("tracing_on"), "1")?;
    let done = work();
    write_sysfs(&file("tracing_on"), "0")?;
    switch("0")?;
    done?;
    let trace = fs::read_to_string(file("trace")).context("reading the trace")?;
    write_sysfs(&file("set_event_pid"), " ")?;
    write_sysfs(&file("tracing_on"), "1")?;
    Ok(parse(&trace))
}

/// The devices share a domain that cannot be flushed.
fn give_up(minihv: Minihv, edus: &[PciFunction]) -> Result<Windows> {
    let (space, buffer) = (Space::new()?, DmaBuffer::new(1)?);
    let mut open = Vec::new();
    for function in edus {
        function.bind("vfio-pci")?;
        open.push(space.take(function)?);
    }
    space.iommufd.map(space.ioas, at(0), buffer.range(0, 1)).context("map")?;
    for call in [CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN] {
        minihv.inject(Injection::every(call))?;
    }
    let windows = record(|| space.iommufd.unmap(space.ioas, at(0), PAGE as u64).context("unmap").map(drop));
    minihv.clear_injections()?;
    for function in edus {
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        let translation = minihv.device_translation(id)?;
        ensure!(translation == DeviceTranslation::Blocked, "{} is not blocked: {translation:?}", function.address);
    }
    windows
}

/// One device, some and all: each is blocked by itself.
fn one_by_one(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let edus: Vec<PciFunction> = pci::all()?.into_iter().filter(|function| function.id == pci::EDU).collect();
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let mut seen = Vec::new();
    for count in [1, edus.len().div_ceil(3), edus.len()] {
        let windows = give_up(minihv, &edus[..count]).with_context(|| format!("{count} devices"))?;
        ensure!(windows.blocked == count as u64, "{count} devices in a domain that was given up: {windows:?}");
        ensure!(windows.most == 1, "interrupts are off while more than one of {count} devices is blocked: {windows:?}");
        seen.push(format!("{count}: {}", windows.longest));
    }
    Ok(Outcome::Pass(format!("devices and longest time without interrupts: {}", seen.join(", "))))
}

const ONE_BY_ONE: Check = Check::new("interrupts-are-off-for-one-device", one_by_one);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "interrupts-off",
    summary: "a domain with many devices cannot be flushed: interrupts are off for one of them at a time",
    checks: &[DEVICES, GROUPS, ONE_BY_ONE, NO_FAULTS, VIOLATIONS],
}];

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
            init-1       [000] d..1.  1000: irq_disable: caller=a parent=b
            init-1       [000] d..1.  1500: irq_enable: caller=a parent=b
            init-1       [000] d..1.  2000: irq_disable: caller=a parent=b
            init-1       [000] d..1.  2100: hv_pviommu_block: 1ee7:00:00.0 device=0x1ee76050 how=attached
            init-1       [000] d..1.  2200: irq_enable: caller=a parent=b
            init-1       [001] d..1.  3000: irq_disable: caller=a parent=b
            init-1       [001] d..1.  3100: hv_pviommu_block: 1fe7:00:00.0 device=0x1fe76150 how=attached
            init-1       [001] d..1.  3300: irq_enable: caller=a parent=b
";

    #[test]
    fn windows_with_devices() {
        assert_eq!(parse(TRACE), Windows { blocked: 2, most: 1, longest: 300 });
        let one: String = TRACE
            .lines()
            .filter(|line| !line.contains(" 2200:") && !line.contains(" 3000:"))
            .fold(String::new(), |text, line| text + line + "\n");
        assert_eq!(parse(&one), Windows { blocked: 2, most: 2, longest: 1300 });
    }
}
