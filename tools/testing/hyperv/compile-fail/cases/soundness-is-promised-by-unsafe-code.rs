// SPDX-License-Identifier: GPL-2.0
//! Safe code cannot vouch for a driver.

use kernel::iommu::domain::NewDomain;
use kernel::iommu::driver::{Driver, Grouping, SoundDriver};
use kernel::iommu::probed::{Probed, Probing};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::LocalModule;

pub struct Mine;

#[cfg(misuse)]
impl SoundDriver for Mine {} //~ E0200: the trait `SoundDriver` requires an `unsafe impl` declaration

#[cfg(not(misuse))]
#[allow(unsafe_code)]
// SAFETY: It serves no device.
unsafe impl SoundDriver for Mine {}

#[vtable]
impl Driver for Mine {
    type Instance = ();
    type Endpoint = ();

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<()>> {
        Err(ENODEV)
    }

    fn alloc_domain(_device: &Probed<'_, Mine>) -> Result<NewDomain<Mine>> {
        Err(ENOMEM)
    }
}
