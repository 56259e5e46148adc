// SPDX-License-Identifier: GPL-2.0
//! The driver's tracepoints, by way of tracefs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{DomainId, LogicalDeviceId};

use crate::pci::write_sysfs;

const ROOT: &str = "/sys/kernel/tracing";
/// What all of the driver's events start with, which is also their system's name.
const SYSTEM: &str = "hv_pviommu";

/// How much a flush dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Blocks of pages.
    List,
    /// The whole domain.
    Whole,
}

/// A flush that the hypervisor was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The domain.
    pub domain: DomainId,
    /// How much.
    pub form: Form,
    /// First and last byte.
    pub range: (u64, u64),
    /// How many blocks; 0 for the whole domain.
    pub descriptors: u64,
    /// The hypervisor's status; 0 when it was done.
    pub status: u64,
}

/// What a tracepoint recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device was put into a domain.
    Attach {
        /// PCI address.
        name: String,
        /// The hypervisor's name for it.
        device: LogicalDeviceId,
        /// The domain.
        domain: DomainId,
    },
    /// A device was to be kept from doing DMA.
    Block {
        /// PCI address.
        name: String,
        /// The hypervisor's name for it.
        device: LogicalDeviceId,
        /// "attached", "detached", "gone" or "failed".
        how: String,
    },
    /// A domain was flushed, or not.
    Flush(Flush),
    /// A hypercall failed.
    HypercallFailed {
        /// Its call code.
        code: u64,
        /// The status.
        status: u64,
    },
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An event from its name, without the system's, and its fields.
fn parse_event(name: &str, fields: &str) -> Option<Event> {
    let (bare, named): (Vec<&str>, Vec<&str>) = fields.split_whitespace().partition(|word| !word.contains('='));
    let named: BTreeMap<&str, &str> = named.into_iter().filter_map(|word| word.split_once('=')).collect();
    let value = |key: &str| number(named.get(key)?);
    let domain = || Some(DomainId(u32::try_from(value("domain")?).ok()?));
    let device = || Some(LogicalDeviceId(value("device")?));
    let owner = || Some((*bare.first()?).to_owned());
    Some(match name {
        "attach" => Event::Attach { name: owner()?, device: device()?, domain: domain()? },
        "block" => Event::Block { name: owner()?, device: device()?, how: (*named.get("how")?).to_owned() },
        "flush" => {
            let (first, last) = named.get("range")?.split_once('-')?;
            Event::Flush(Flush {
                domain: domain()?,
                form: match *named.get("form")? {
                    "list" => Form::List,
                    "whole" => Form::Whole,
                    _ => return None,
                },
                range: (number(first)?, number(last)?),
                descriptors: value("descriptors")?,
                status: value("status")?,
            })
        }
        "hypercall_failed" => Event::HypercallFailed { code: value("code")?, status: value("status")? },
        _ => return None,
    })
}

/// The driver's events in the text of a trace.
fn parse(trace: &str) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for line in trace.lines() {
        // "# entries-in-buffer/entries-written: 3/3   #P:2"
        if let Some(counts) = line.strip_prefix("# entries-in-buffer/entries-written: ") {
            let (kept, written) =
                counts.split_whitespace().next().unwrap_or_default().split_once('/').context("counts")?;
            if kept != written {
                bail!("{kept} of {written} events were kept");
            }
        }
        let marker = format!(" {SYSTEM}_");
        let Some((_, event)) = line.split_once(&marker).filter(|_| !line.starts_with('#')) else { continue };
        let parsed = event.split_once(": ").and_then(|(name, fields)| parse_event(name, fields));
        events.push(parsed.with_context(|| format!("no event as documented: {line:?}"))?);
    }
    Ok(events)
}

/// The driver's tracepoints, on as long as this lives.
pub struct Recording(());

impl Recording {
    fn file(name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    fn switch(to: &str) -> Result<()> {
        write_sysfs(&Recording::file(&format!("events/{SYSTEM}/enable")), to)
    }

    /// Forgets what was recorded and switches the tracepoints on.
    ///
    /// # Errors
    /// When the kernel has no tracepoints, or not the driver's.
    pub fn start() -> Result<Recording> {
        // One clock for all processors, so that events are in order; this also empties the trace.
        write_sysfs(&Recording::file("trace_clock"), "global")?;
        write_sysfs(&Recording::file("trace"), "\n")?;
        Recording::switch("1")?;
        Ok(Recording(()))
    }

    /// Switches them off and returns what they recorded.
    ///
    /// # Errors
    /// When something was lost, or does not look as it should.
    pub fn finish(self) -> Result<Vec<Event>> {
        drop(self);
        parse(&fs::read_to_string(Recording::file("trace")).context("reading the trace")?)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = Recording::switch("0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
#
# entries-in-buffer/entries-written: 4/4   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
            init-1       [000] d..1.     1.000001: hv_pviommu_attach: 1ee7:00:00.0 device=0x1ee76050 domain=3
            init-1       [001] d..1.     1.000002: hv_pviommu_block: 1ee7:00:00.0 device=0x1ee76050 how=detached
            init-1       [000] .....     1.000003: hv_pviommu_flush: domain=3 form=list range=0x1000-0x2fff descriptors=2 status=0x0
            init-1       [000] .....     1.000004: hv_pviommu_hypercall_failed: code=0x00d1 status=0x71
";

    #[test]
    fn events_come_out_of_a_trace() {
        let device = LogicalDeviceId(0x1ee7_6050);
        let name = "1ee7:00:00.0".to_owned();
        let flush = Flush { domain: DomainId(3), form: Form::List, range: (0x1000, 0x2fff), descriptors: 2, status: 0 };
        let expected = vec![
            Event::Attach { name: name.clone(), device, domain: DomainId(3) },
            Event::Block { name, device, how: "detached".to_owned() },
            Event::Flush(flush),
            Event::HypercallFailed { code: 0xd1, status: 0x71 },
        ];
        assert_eq!(parse(TRACE).unwrap(), expected);
    }

    #[test]
    fn losses_and_oddities_are_errors() {
        assert!(parse(&TRACE.replace("4/4", "4/5")).is_err());
        assert!(parse(&TRACE.replace("form=list", "form=half")).is_err());
        assert!(parse(&TRACE.replace("hv_pviommu_block", "hv_pviommu_lock")).is_err());
        assert!(parse(&TRACE.replace("status=0x71", "")).is_err());
    }
}
