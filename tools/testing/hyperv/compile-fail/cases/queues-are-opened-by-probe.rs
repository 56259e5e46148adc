// SPDX-License-Identifier: GPL-2.0
//! A device's queues are opened while it gets its driver, and at no other time.

#[cfg(misuse)]
use kernel::device::Bound;
#[cfg(not(misuse))]
use kernel::device::Core;
use kernel::prelude::*;
use kernel::virtio::device::Device;
use kernel::virtio::queue::QueueRef;

#[cfg(misuse)]
type Opened<'a> = Device<Bound>;
#[cfg(not(misuse))]
type Opened<'a> = Device<Core<'a>>;

pub fn open(device: &Opened<'_>, queue: QueueRef) -> Result {
    device.find_queues([queue]) //~ E0599: no method named `find_queues` found
}
