// SPDX-License-Identifier: GPL-2.0

//! A device that the kernel has found: is it behind the IOMMU?

use super::{
    block::{
        block,
        report, //
    },
    endpoint::{
        Admission,
        Endpoint, //
    },
    list::Devices, //
};
use crate::{
    host::{
        calls::{
            self,
            DeviceIommu, //
        },
        capabilities::AtsSupport,
        layouts::GetLogicalDeviceProperty,
        message::{
            say,
            Level,
            Word, //
        },
        readings::{
            self,
            DeviceAnswer, //
        }, //
    },
    known::domains::Domains, //
};
use kernel::{
    device,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    pci::{
        self,
        bus_master, //
    },
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How long the driver waits before it asks about a device again, in milliseconds, each time that
/// the host could not say, or that another device still has the id. Devices are probed one after
/// the other: a host that never says must not delay the boot by more than this for each.
const PAUSES: [i64; 3] = [1, 10, 100];

/// Finds out whether `dev` is behind the IOMMU, and enters it among the devices when it is.
///
/// Context: may sleep; serialised by the core with all that enters devices.
///
/// # Errors
///
/// [`ENODEV`]: it is not. Silently, when the device is of another kind or the host said so, and
/// with a message when the host refused to answer, or the device has another device's id.
/// [`ENOMEM`]: it is, and was blocked, with a message.
pub(crate) fn enter(
    dev: &device::Device,
    devices: &Devices,
    domains: &Domains,
    ats: AtsSupport,
) -> Result<Arc<Endpoint>> {
    let pdev = <&pci::Device>::try_from(dev).map_err(|_| ENODEV)?;
    let id = LogicalDeviceId::of(pdev)?;
    if retried(|| devices.claim(id), |_| true).is_err() {
        // Whatever a call does about the id, it does to the other device.
        let text = "another device has the id %; DMA is not under control of this IOMMU";
        say(Level::Err, Some(dev), text, &[Word::Device(id)]);
        bus_master::stop(pdev);
        return Err(ENODEV);
    }
    let failure = match ask(id) {
        Ok(DeviceIommu::Enabled) => None,
        Ok(DeviceIommu::Disabled) => return Err(ENODEV),
        Err(failure) => match readings::device_answer(failure) {
            DeviceAnswer::NotBehind => return Err(ENODEV),
            DeviceAnswer::Refused => {
                let text = "% of %: %; DMA is not translated";
                say(Level::Warn, Some(dev), text, &no_answer(id, failure));
                return Err(ENODEV);
            }
            DeviceAnswer::CouldNotSay => Some(failure),
        },
    };
    let admission = match failure {
        None => Admission::Granted,
        Some(_) => Admission::Unknown,
    };
    let endpoint = Endpoint::new(pdev, id, devices.next_serial(), admission, ats).inspect_err(
        |_: &Error| {
            let result = block(id, domains.want_blocking());
            if result.is_err() {
                bus_master::stop(pdev);
            }
            // When the device cannot be blocked, there is a message about that, too.
            let end = report(dev, result).map_or("", |()| "; DMA is blocked");
            let text = "no memory for the device%";
            say(Level::Err, Some(dev), text, &[Word::Text(&end)]);
        },
    )?;
    if let Some(failure) = failure {
        // When the device cannot be blocked, there is a message about that, too.
        let text = match endpoint.block(domains) {
            Ok(()) => "% of %: %; DMA is blocked",
            Err(_) => "% of %: %",
        };
        say(Level::Err, Some(dev), text, &no_answer(id, failure));
    }
    let entered = endpoint.clone_arc();
    devices.add(endpoint);
    Ok(entered)
}

/// The words of a message about a question that was not answered.
fn no_answer(id: LogicalDeviceId, failure: HypercallError) -> [Word<'static>; 3] {
    let call = &GetLogicalDeviceProperty::NAME;
    [Word::Text(call), Word::Device(id), Word::Failure(failure)]
}

/// Asks whether the guest may attach a device; again, a few times, when the host could not say.
///
/// Context: may sleep.
#[inline(never)]
fn ask(id: LogicalDeviceId) -> Result<DeviceIommu, HypercallError> {
    retried(
        || calls::get_device_iommu(id),
        |failure| readings::device_answer(failure) == DeviceAnswer::CouldNotSay,
    )
}

/// Calls `f`, and again after each of [`PAUSES`] as long as it fails in a way that may pass.
///
/// Context: may sleep.
fn retried<T, E: Copy>(f: impl Fn() -> Result<T, E>, may_pass: impl Fn(E) -> bool) -> Result<T, E> {
    let mut result = f();
    for pause in PAUSES {
        match result {
            Err(error) if may_pass(error) => {}
            _ => break,
        }
        fsleep(Delta::from_millis(pause));
        result = f();
    }
    result
}
