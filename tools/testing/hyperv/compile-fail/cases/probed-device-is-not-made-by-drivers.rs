// SPDX-License-Identifier: GPL-2.0
//! Only the core's callbacks say that a device was probed: the endpoint of any other device is no endpoint.

#[cfg(misuse)]
use kernel::bindings;
#[cfg(not(misuse))]
use kernel::device::Device;
use kernel::iommu::probed::Probed;
use sound::{Endpoint, Sound};

#[cfg(misuse)]
pub fn endpoint<'a>(dev: *mut bindings::device) -> &'a Endpoint {
    Probed::<Sound>::from_raw(dev).endpoint() //~ E0624: associated function `from_raw` is private
}

#[cfg(not(misuse))]
pub fn endpoint<'a>(device: &Probed<'a, Sound>) -> (&'a Device, &'a Endpoint) {
    (device.dev(), device.endpoint())
}
