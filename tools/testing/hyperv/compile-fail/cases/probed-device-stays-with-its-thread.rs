// SPDX-License-Identifier: GPL-2.0
//! A device in the hands of a callback is not handed to another thread, which could outlive the callback.

use kernel::iommu::probed::Probed;
use kernel::sync::Arc;
use sound::{Endpoint, Sound};

fn hand_over<T: Send>(_value: T) {}

#[cfg(misuse)]
pub fn defer(device: Probed<'_, Sound>) {
    hand_over(device); //~ E0277: `*mut ()` cannot be sent between threads safely
}

#[cfg(not(misuse))]
pub fn defer(endpoint: Arc<Endpoint>) {
    hand_over(endpoint);
}

pub fn id(device: &Probed<'_, Sound>) -> u32 {
    device.endpoint().id
}
