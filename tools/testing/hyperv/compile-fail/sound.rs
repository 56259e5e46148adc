// SPDX-License-Identifier: GPL-2.0
//! A driver that uses the abstractions as it should: what the cases break, or what they borrow from.

// The kernel's crate with which a case is built has no documentation of its own either.
#![allow(missing_docs)]

pub use kernel::LocalModule;

use kernel::iommu::domain::{Domain, NewDomain, StaticDomain, StaticDomainOps, StaticKind};
use kernel::iommu::driver::{Driver, Grouping, SoundDriver};
use kernel::iommu::gather::{FlushOutcome, Gather};
use kernel::iommu::ops::Ops;
use kernel::iommu::probed::{AttachTarget, Probed, Probing};
use kernel::iommu::pt::{
    Config, Features, Levels, Node, Paging, TableDomain, TableFate, X86_64Info, X86_64Shape, X86_64,
};
use kernel::iommu::Iova;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;

pub struct Instance {
    pub devices: Atomic<u32>,
}

pub struct Endpoint {
    pub id: u32,
}

pub struct Sound;

// SAFETY: There is no hardware that could use anything.
unsafe impl SoundDriver for Sound {}

#[vtable]
impl Driver for Sound {
    type Instance = Instance;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &Instance, _device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        Ok(Arc::new(Endpoint { id: 1 }, GFP_KERNEL)?)
    }

    fn alloc_domain(_device: &Probed<'_, Sound>) -> Result<NewDomain<Sound>> {
        allocate()
    }
}

/// A table of the most usual shape.
pub const CONFIG: Config<X86_64> = Config {
    shape: X86_64Shape { levels: Levels::Four, width: 48 },
    output_width: 52,
    features: Features::FLUSH_RANGE,
    last: Iova::new((1 << 47) - 1),
    page_sizes: u64::MAX,
    node: Node::ANY,
};

pub fn allocate() -> Result<NewDomain<Sound>> {
    Paging::<Table>::allocate(CONFIG, |info| Ok(Table { info }))
}

pub struct Table {
    pub info: X86_64Info,
}

#[vtable]
impl Domain for Table {
    type Driver = Sound;

    fn attach(&self, _target: &AttachTarget<'_, Sound>) -> Result {
        Ok(())
    }

    fn flush_all(&self) {}
}

#[vtable]
impl TableDomain for Table {
    type Format = X86_64;

    fn flush(&self, _gather: &Gather) -> FlushOutcome {
        FlushOutcome::Flushed
    }

    fn release(&self) -> TableFate {
        TableFate::Free
    }
}

pub struct Identity;
pub struct Blocking;

#[vtable]
impl StaticDomainOps for Identity {
    type Driver = Sound;
    const KIND: StaticKind = StaticKind::Identity;

    fn attach(_target: &AttachTarget<'_, Sound>) -> Result {
        Ok(())
    }
}

#[vtable]
impl StaticDomainOps for Blocking {
    type Driver = Sound;
    const KIND: StaticKind = StaticKind::Blocking;

    fn attach(_target: &AttachTarget<'_, Sound>) -> Result {
        Ok(())
    }
}

pub static IDENTITY: StaticDomain<Identity> = StaticDomain::new();
pub static BLOCKING: StaticDomain<Blocking> = StaticDomain::new();
pub static OPS: Ops<Sound> = Ops::new().with_identity(&IDENTITY).with_blocking(&BLOCKING);
