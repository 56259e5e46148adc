// SPDX-License-Identifier: GPL-2.0

//! Keeping a device from doing DMA, by the blocking domain or by a detach.

use crate::host::{
    calls,
    domain_ids::DomainId,
    layouts::{
        AttachDeviceDomain,
        DetachDeviceDomain, //
    },
    message::{
        say,
        Level,
        Word, //
    },
    readings::{
        is_attached_already,
        says_no_such_device, //
    }, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    prelude::*,
};

/// How a device was kept from doing DMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// It is in the blocking domain, which lets nothing through.
    Attached,
    /// It is in no domain. The hypervisor lets nothing through then, either.
    Detached,
    /// The host has taken it away.
    Gone,
    /// The host has taken it away, and has given its id to another device since. No call may name
    /// it.
    Replaced,
}

/// A device could be neither attached to the blocking domain nor detached.
#[derive(Clone, Copy)]
pub(crate) struct NotBlocked {
    attach: Option<HypercallError>,
    detach: HypercallError,
}

/// Whether the host has taken the device away. One such refusal is not enough: a second call, of
/// another kind, must say the same.
pub(crate) fn is_gone(id: LogicalDeviceId, failure: HypercallError) -> bool {
    says_no_such_device(failure) && calls::get_device_iommu(id).is_err_and(says_no_such_device)
}

/// Attaches a device to the blocking domain.
///
/// # Errors
///
/// What the hypervisor answered. [`None`]: there is no blocking domain.
fn enter(
    id: LogicalDeviceId,
    blocking: Option<DomainId>,
) -> Result<Blocked, Option<HypercallError>> {
    match calls::attach(blocking.ok_or(None)?, id) {
        Ok(()) => Ok(Blocked::Attached),
        Err(failure) if is_gone(id, failure) => Ok(Blocked::Gone),
        Err(failure) => Err(Some(failure)),
    }
}

/// Attaches a device to the blocking domain, if possible, that was detached to block it. The
/// hypervisor refuses to detach such a device once more.
pub(super) fn block_detached(id: LogicalDeviceId, blocking: Option<DomainId>) -> Blocked {
    let result = match enter(id, blocking) {
        // A call that had timed out has put the device into a domain since.
        Err(Some(failure)) if is_attached_already(failure) && calls::detach(id).is_ok() => {
            enter(id, blocking)
        }
        result => result,
    };
    result.unwrap_or(Blocked::Detached)
}

/// Where a device is before it is blocked, as far as the driver knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// In the blocking domain.
    Blocked,
    /// Anywhere.
    Elsewhere,
}

/// Attaches a device to the blocking domain; if that is not possible, detaches it.
///
/// The hypervisor may say that the device is in a domain already. Unless the driver agrees, the
/// device is taken out of that domain, and then attached again.
pub(crate) fn block(
    id: LogicalDeviceId,
    blocking: Option<DomainId>,
    before: Before,
) -> Result<Blocked, NotBlocked> {
    let attach = match enter(id, blocking) {
        Ok(how) => return Ok(how),
        Err(failure) => failure,
    };
    let is_somewhere = attach.is_some_and(is_attached_already);
    if is_somewhere && before == Before::Blocked {
        return Ok(Blocked::Attached);
    }
    match calls::detach(id) {
        Ok(()) if is_somewhere => Ok(enter(id, blocking).unwrap_or(Blocked::Detached)),
        Ok(()) => Ok(Blocked::Detached),
        Err(detach) => Err(NotBlocked { attach, detach }),
    }
}

/// Says that the host has taken a device away.
pub(crate) fn report_gone(dev: &device::Device) {
    let text = "the host has taken the device away";
    say(Level::Info, Some(dev), text, &[]);
}

/// Writes a message when a device is not in the blocking domain.
///
/// # Errors
///
/// [`EIO`]: the device may still do DMA.
pub(crate) fn report(dev: &device::Device, result: Result<Blocked, NotBlocked>) -> Result {
    match result {
        Ok(Blocked::Attached | Blocked::Replaced) => Ok(()),
        Ok(Blocked::Detached) => {
            let text = "not in the blocking domain, detached instead";
            say(Level::Warn, Some(dev), text, &[]);
            Ok(())
        }
        Ok(Blocked::Gone) => {
            report_gone(dev);
            Ok(())
        }
        Err(failures) => {
            let detach = [
                Word::Text(&DetachDeviceDomain::NAME),
                Word::Failure(failures.detach),
            ];
            match failures.attach {
                None => {
                    let text = "DMA is not blocked but by the device: %: %";
                    say(Level::Err, Some(dev), text, &detach);
                }
                Some(attach) => {
                    let text = "DMA is not blocked but by the device: %: %, %: %";
                    let [name, detach] = detach;
                    let attach = [
                        Word::Text(&AttachDeviceDomain::NAME),
                        Word::Failure(attach),
                        name,
                        detach,
                    ];
                    say(Level::Err, Some(dev), text, &attach);
                }
            }
            Err(EIO)
        }
    }
}
