// SPDX-License-Identifier: GPL-2.0
//! A driver that allocates domains in two ways would have one of them passed over.

use kernel::iommu::domain::NewDomain;
use kernel::iommu::driver::{AllocFlags, Driver, Grouping};
use kernel::iommu::ops::Ops;
use kernel::iommu::probed::{Probed, Probing};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::LocalModule;

pub struct Mine;

#[vtable]
impl Driver for Mine {
    type Instance = ();
    type Endpoint = ();

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<()>> {
        Err(ENODEV)
    }

    #[cfg(misuse)]
    fn alloc_domain(_device: &Probed<'_, Mine>) -> Result<NewDomain<Mine>> {
        Err(ENOMEM)
    }

    fn alloc_domain_with(_device: &Probed<'_, Mine>, _flags: AllocFlags) -> Result<NewDomain<Mine>> {
        Err(ENOMEM)
    }
}

pub static OPS: Ops<Mine> = Ops::new(); //~ E0080: a driver allocates domains in one way
