// SPDX-License-Identifier: GPL-2.0
//! An IOMMU of a driver that nobody vouches for cannot be given to the core.

use kernel::iommu::device::Registration;
use kernel::iommu::domain::NewDomain;
use kernel::iommu::driver::{Driver, Grouping};
use kernel::iommu::probed::{Probed, Probing};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::LocalModule;

pub struct Unsound;

#[vtable]
impl Driver for Unsound {
    type Instance = ();
    type Endpoint = ();

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<()>> {
        Err(ENODEV)
    }

    fn alloc_domain(_device: &Probed<'_, Unsound>) -> Result<NewDomain<Unsound>> {
        Err(ENOMEM)
    }
}

#[cfg(misuse)]
type Registered = Unsound;
#[cfg(not(misuse))]
type Registered = sound::Sound;

pub struct Iommu {
    pub registration: Registration<Registered>, //~ E0277: the trait bound `Unsound: SoundDriver` is not satisfied
}
