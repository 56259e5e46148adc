// SPDX-License-Identifier: GPL-2.0
//! What minihv counted.

use anyhow::{bail, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::test_interface::Counter;

use crate::check::{Check, Context};
use crate::report::Outcome;
use hvprotocol::options::DomainMode;

/// Why something is skipped that minihv counts.
pub const NO_MINIHV: &str = "needs minihv";

fn no_minihv() -> Result<Outcome> {
    Ok(Outcome::Skip(NO_MINIHV.to_owned()))
}

/// Domains were made, devices attached and the caches flushed the way the mode promises.
fn translated_io(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    let creates = minihv.calls(CallCode::CREATE_DEVICE_DOMAIN)?;
    let attaches = minihv.calls(CallCode::ATTACH_DEVICE_DOMAIN)?;
    let attached = minihv.counter(Counter::AttachedDevices, 0)?;
    let domain = minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN)?;
    let list = minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?;
    let descriptors = minihv.counter(Counter::FlushDescriptors, 0)?;
    let pages = minihv.counter(Counter::FlushPages, 0)?;
    let seen = format!(
        "{creates} domains created, {attaches} attach calls, {attached} devices attached, \
         {list} list flushes with {descriptors} descriptors for {pages} pages, {domain} domain flushes"
    );
    let functions = context.functions.len() as u64;
    if attaches < functions || attached != functions {
        bail!("{functions} functions, but {seen}");
    }
    match context.options.mode {
        DomainMode::Strict if list == 0 || descriptors == 0 || pages == 0 => bail!("no page-selective flush: {seen}"),
        DomainMode::Deferred if domain == 0 => bail!("no whole-domain flush: {seen}"),
        _ => Ok(Outcome::Pass(seen)),
    }
}

pub const COUNTERS: Check = Check::new("hypervisor-counters", translated_io);

/// The guest never broke the interface's rules.
fn no_violations(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    match minihv.counter(Counter::Violations, 0)? {
        0 => Ok(Outcome::Pass(String::new())),
        count => bail!("minihv counted {count} violations of the interface; its log names them"),
    }
}

pub const VIOLATIONS: Check = Check::new("no-protocol-violations", no_violations);

/// Ordinary I/O causes no DMA fault.
fn no_faults(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    if let Some(fault) = minihv.next_fault()? {
        bail!("a DMA fault happened: {fault:x?}");
    }
    Ok(Outcome::Pass(String::new()))
}

pub const NO_FAULTS: Check = Check::new("no-stray-dma-faults", no_faults);
