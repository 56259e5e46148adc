// SPDX-License-Identifier: GPL-2.0
//! What a driver keeps for a device is seen by all its callbacks, several at a time: it must be made for that.

use kernel::iommu::domain::NewDomain;
use kernel::iommu::driver::{Driver, Grouping};
use kernel::iommu::probed::{Probed, Probing};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::LocalModule;

pub struct Mine;

#[cfg(misuse)]
pub struct Endpoint(core::cell::Cell<u32>);
#[cfg(not(misuse))]
pub struct Endpoint(kernel::sync::atomic::Atomic<u32>);

#[vtable]
impl Driver for Mine {
    type Instance = ();
    type Endpoint = Endpoint; //~ E0277: `Cell<u32>` cannot be shared between threads safely

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        Err(ENODEV)
    }

    fn alloc_domain(device: &Probed<'_, Mine>) -> Result<NewDomain<Mine>> {
        let _ = &device.endpoint().0;
        Err(ENOMEM)
    }
}
