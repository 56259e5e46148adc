// SPDX-License-Identifier: GPL-2.0
//! What a callback is lent of a device cannot be kept: the core frees the endpoint when the device is released.

use kernel::iommu::probed::Probed;
use sound::{Endpoint, Sound};

#[cfg(misuse)]
pub fn keep(device: &Probed<'_, Sound>) -> &'static Endpoint {
    device.endpoint() //~ none: lifetime may not live long enough
}

#[cfg(not(misuse))]
pub fn keep<'a>(device: &Probed<'a, Sound>) -> &'a Endpoint {
    device.endpoint()
}
