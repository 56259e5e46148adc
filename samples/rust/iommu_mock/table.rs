// SPDX-License-Identifier: GPL-2.0

//! Domains of the IOMMU that walks page tables.

use super::{
    counters::{
        CountedDomain,
        Counters, //
    },
    driver::Mock, //
};
use kernel::{
    iommu::{
        domain::{
            Domain,
            NewDomain,
            Pasid, //
        },
        gather::{
            FlushOutcome,
            Gather, //
        },
        probed::AttachTarget,
        pt::{
            self,
            Features,
            Node,
            Paging,
            Riscv64,
            Sv,
            TableFate, //
        },
        Iova, //
    },
    prelude::*,
    sync::Arc, //
};

/// The driver's part of a domain.
pub(crate) struct TableDomain {
    counters: CountedDomain,
}

impl TableDomain {
    pub(crate) fn allocate(counters: &Arc<Counters>) -> Result<NewDomain<Mock>> {
        let config = pt::Config {
            shape: Sv::Sv48,
            output_width: 56,
            features: Features::FLUSH_RANGE,
            last: Iova::new((1 << 47) - 1),
            page_sizes: u64::MAX,
            node: Node::ANY,
        };
        Paging::<TableDomain>::allocate(config, |info| {
            // A driver of hardware would tell the hardware of the table here.
            if info.mode != Sv::Sv48 || info.ppn == 0 {
                return Err(EIO);
            }
            Ok(TableDomain {
                counters: CountedDomain::new(counters),
            })
        })
    }
}

#[vtable]
impl Domain for TableDomain {
    type Driver = Mock;

    fn attach(&self, _target: &AttachTarget<'_, Mock>) -> Result {
        self.counters.attaches.count();
        Ok(())
    }

    fn set_pasid(&self, _target: &AttachTarget<'_, Mock>, _pasid: Pasid) -> Result {
        self.counters.pasids.count();
        Ok(())
    }

    fn flush_all(&self) {
        self.counters.whole_flushes.count();
    }
}

#[vtable]
impl pt::TableDomain for TableDomain {
    type Format = Riscv64;

    fn flush(&self, gather: &Gather) -> FlushOutcome {
        self.counters.flushed(gather.first(), gather.last());
        FlushOutcome::Flushed
    }

    fn release(&self) -> TableFate {
        TableFate::Free
    }
}
