// SPDX-License-Identifier: GPL-2.0

//! Entering a device that the kernel has found, if it is behind the IOMMU.

use super::{
    block::{
        block,
        report,
        Before, //
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
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    iommu::probed::Probing,
    pci::bus_master,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// Finds out whether `dev` is behind the IOMMU, and if so enters it among the devices.
///
/// Context: may sleep; the core serialises this with all that enters devices.
///
/// # Errors
///
/// [`ENODEV`]: the device is not behind the IOMMU. There is no message when the device is no vPCI
/// device or the host said so. There is one when the host refused to answer, or when another device
/// has this id.
/// [`ENOMEM`]: the device is behind the IOMMU, and was blocked, with a message.
pub(crate) fn enter(
    device: &Probing<'_>,
    devices: &Devices,
    domains: &Domains,
    ats: AtsSupport,
) -> Result<Arc<Endpoint>> {
    let dev = device.dev();
    let pdev = &device.pci().ok_or(ENODEV)?;
    let id = LogicalDeviceId::of(pdev)?;
    if retried(|| devices.claim(id), |_| true).is_err() {
        // A call that names the id would act on the other device.
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
            let result = block(id, domains.want_blocking(), Before::Elsewhere);
            if result.is_err() {
                bus_master::stop(pdev);
            }
            devices.let_go().add_blocked(id, result);
            // `report` wrote a message of its own if the device could not be blocked.
            let end = report(dev, result).map_or("", |()| "; DMA is blocked");
            let text = "no memory for the device%";
            say(Level::Err, Some(dev), text, &[Word::Text(&end)]);
        },
    )?;
    if let Some(failure) = failure {
        // `block` wrote a message of its own if the device could not be blocked.
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

/// The words of a message about a question that the host did not answer.
fn no_answer(id: LogicalDeviceId, failure: HypercallError) -> [Word<'static>; 3] {
    let call = &GetLogicalDeviceProperty::NAME;
    [Word::Text(call), Word::Device(id), Word::Failure(failure)]
}

/// Asks whether the guest may attach a device, and asks again a few times when the host could not
/// say.
///
/// Context: may sleep.
#[inline(never)]
fn ask(id: LogicalDeviceId) -> Result<DeviceIommu, HypercallError> {
    retried(
        || calls::get_device_iommu(id),
        |failure| readings::device_answer(failure) == DeviceAnswer::CouldNotSay,
    )
}

/// Calls `f`, and calls it again after each of [`readings::PAUSES`] while it fails with an error
/// that may pass.
///
/// Context: may sleep.
fn retried<T, E: Copy>(f: impl Fn() -> Result<T, E>, may_pass: impl Fn(E) -> bool) -> Result<T, E> {
    let mut result = f();
    for pause in readings::PAUSES {
        match result {
            Err(error) if may_pass(error) => {}
            _ => break,
        }
        fsleep(Delta::from_millis(pause));
        result = f();
    }
    result
}
