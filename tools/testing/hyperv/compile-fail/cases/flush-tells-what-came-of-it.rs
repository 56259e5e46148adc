// SPDX-License-Identifier: GPL-2.0
//! A flush cannot leave open whether the IOMMU has forgotten the range: the memory is freed on its word.

use kernel::iommu::domain::Domain;
use kernel::iommu::gather::{FlushOutcome, Gather};
use kernel::iommu::probed::AttachTarget;
use kernel::iommu::pt::{TableDomain, TableFate, X86_64};
use kernel::prelude::*;
use kernel::LocalModule;
use sound::Sound;

pub struct Mine;

#[vtable]
impl Domain for Mine {
    type Driver = Sound;

    fn attach(&self, _target: &AttachTarget<'_, Sound>) -> Result {
        Ok(())
    }

    fn flush_all(&self) {}
}

#[vtable]
impl TableDomain for Mine {
    type Format = X86_64;

    #[cfg(misuse)]
    fn flush(&self, _gather: &Gather) {} //~ E0053: expected `FlushOutcome`, found `()`

    #[cfg(not(misuse))]
    fn flush(&self, _gather: &Gather) -> FlushOutcome {
        FlushOutcome::Stale
    }

    fn release(&self) -> TableFate {
        TableFate::Leak
    }
}
