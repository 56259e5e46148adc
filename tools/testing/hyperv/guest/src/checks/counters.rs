// SPDX-License-Identifier: GPL-2.0
//! What minihv counted.

use anyhow::{bail, Result};
use hvcore::control::Counter;

use crate::control::Minihv;
use crate::options::DomainMode;
use crate::report::Outcome;
use crate::scenario::Context;

/// Call codes (include/hyperv/hv_pviommu.h).
pub mod call {
    pub const CREATE_DEVICE_DOMAIN: u32 = 0xb1;
    pub const ATTACH_DEVICE_DOMAIN: u32 = 0xb2;
    pub const DETACH_DEVICE_DOMAIN: u32 = 0xc4;
    pub const DELETE_DEVICE_DOMAIN: u32 = 0xc5;
    pub const CONFIGURE_DEVICE_DOMAIN: u32 = 0xce;
    pub const FLUSH_DEVICE_DOMAIN: u32 = 0xd0;
    pub const FLUSH_DEVICE_DOMAIN_LIST: u32 = 0xd1;
    pub const GET_IOMMU_CAPABILITIES: u32 = 0x125;
    pub const GET_LOGICAL_DEVICE_PROPERTY: u32 = 0x127;

    /// Every one.
    pub const ALL: [u32; 9] = [
        CREATE_DEVICE_DOMAIN,
        ATTACH_DEVICE_DOMAIN,
        DETACH_DEVICE_DOMAIN,
        DELETE_DEVICE_DOMAIN,
        CONFIGURE_DEVICE_DOMAIN,
        FLUSH_DEVICE_DOMAIN,
        FLUSH_DEVICE_DOMAIN_LIST,
        GET_IOMMU_CAPABILITIES,
        GET_LOGICAL_DEVICE_PROPERTY,
    ];
}

fn no_minihv() -> Result<Outcome> {
    Ok(Outcome::Skip("needs minihv".to_owned()))
}

/// Hypercalls of one kind so far.
///
/// # Errors
/// When minihv does not answer as documented.
pub fn calls(minihv: Minihv, code: u32) -> Result<u64> {
    minihv.counter(Counter::Calls, code)
}

/// IOMMU hypercalls of every kind so far.
///
/// # Errors
/// When minihv does not answer as documented.
pub fn iommu_calls(minihv: Minihv) -> Result<u64> {
    call::ALL.into_iter().map(|code| calls(minihv, code)).sum()
}

/// Flush calls of both kinds so far.
///
/// # Errors
/// When minihv does not answer as documented.
pub fn flush_calls(minihv: Minihv) -> Result<u64> {
    Ok(calls(minihv, call::FLUSH_DEVICE_DOMAIN)? + calls(minihv, call::FLUSH_DEVICE_DOMAIN_LIST)?)
}

/// Domains were made, devices attached and the caches flushed the way the mode promises.
pub fn translated_io(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    let creates = calls(minihv, call::CREATE_DEVICE_DOMAIN)?;
    let attaches = calls(minihv, call::ATTACH_DEVICE_DOMAIN)?;
    let attached = minihv.counter(Counter::AttachedDevices, 0)?;
    let domain = calls(minihv, call::FLUSH_DEVICE_DOMAIN)?;
    let list = calls(minihv, call::FLUSH_DEVICE_DOMAIN_LIST)?;
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

/// The guest never broke the interface's rules.
pub fn no_violations(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    match minihv.counter(Counter::Violations, 0)? {
        0 => Ok(Outcome::Pass(String::new())),
        count => bail!("minihv counted {count} violations of the interface; its log names them"),
    }
}

/// Ordinary I/O causes no DMA fault.
pub fn no_faults(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    if let Some(fault) = minihv.next_fault()? {
        bail!("a DMA fault happened: {fault:x?}");
    }
    Ok(Outcome::Pass(String::new()))
}

/// After the first list flush that the host did not know, the driver stays with whole-domain flushes.
pub fn list_flush_tried_once(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return no_minihv() };
    let list = calls(minihv, call::FLUSH_DEVICE_DOMAIN_LIST)?;
    let domain = calls(minihv, call::FLUSH_DEVICE_DOMAIN)?;
    let seen = format!("{list} list flushes, {domain} domain flushes");
    if list != 1 || domain == 0 {
        bail!("{seen}; expected 1 and at least 1");
    }
    Ok(Outcome::Pass(seen))
}
