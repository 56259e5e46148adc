// SPDX-License-Identifier: GPL-2.0
//! A driver's devices are attached to its own domains: another driver's would take their endpoints for its own.

use kernel::iommu::domain::{StaticDomain, StaticDomainOps, StaticKind};
use kernel::iommu::ops::Ops;
use kernel::iommu::probed::AttachTarget;
use kernel::prelude::*;
use kernel::LocalModule;
use sound::Sound;

#[cfg(misuse)]
pub use other::Other as Served;
#[cfg(not(misuse))]
pub use sound::Sound as Served;

pub mod other {
    use kernel::iommu::domain::NewDomain;
    use kernel::iommu::driver::{Driver, Grouping};
    use kernel::iommu::probed::{Probed, Probing};
    use kernel::prelude::*;
    use kernel::sync::Arc;

    pub struct Other;

    #[vtable]
    impl Driver for Other {
        type Instance = ();
        type Endpoint = u64;

        const GROUPING: Grouping = Grouping::PerDevice;

        fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<u64>> {
            Err(ENODEV)
        }

        fn alloc_domain(_device: &Probed<'_, Other>) -> Result<NewDomain<Other>> {
            Err(ENOMEM)
        }
    }
}

pub struct Blocking;

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = Served;

    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(_target: &AttachTarget<'_, Served>) -> Result {
        Ok(())
    }
}

static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
pub static OPS: Ops<Sound> = Ops::new().with_blocking(&BLOCKING); //~ E0308: expected `Ops<Sound>`, found `Ops<Other>`
