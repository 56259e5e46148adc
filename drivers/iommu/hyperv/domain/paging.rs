// SPDX-License-Identifier: GPL-2.0

//! Paging domains: the guest's page tables translate a device's DMA.

use super::state::Domain;
use crate::{
    device::endpoint::TranslatedRequests,
    driver::PvIommu,
    host::{
        aperture::{
            Aperture,
            Levels, //
        },
        calls,
        translation::Translation, //
    },
    instance::Instance,
    known::{
        domains::{
            Deleted,
            MakeError, //
        },
        list::Unlisted, //
    },
};
use kernel::{
    device,
    hyperv::fixed_call::Reserved,
    iommu::{
        self,
        domain::NewDomain,
        gather::{
            FlushOutcome,
            Gather, //
        },
        probed::AttachTarget,
        pt::{
            self,
            Paging,
            TableDomain,
            TableFate,
            X86_64Shape,
            X86_64, //
        },
        Iova, //
    },
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        AtomicFlag, //
    },
};

/// Allocates a domain for `dev`, with a table on the device's NUMA node. If the host refuses a
/// 5-level table, the domain gets one of 4 levels.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`], or the errno of the hypervisor's refusal, with a message.
pub(crate) fn allocate(
    instance: &'static Instance,
    dev: &device::Device,
) -> Result<NewDomain<PvIommu>> {
    let mut refusal = None;
    let domain = allocate_for(instance, pt::Node::of(dev), &mut refusal);
    domain.inspect_err(|_| report(dev, refusal))
}

/// As [`allocate`]; instead of a message, the hypervisor's refusal, if any, is left in `refusal`.
pub(crate) fn allocate_for(
    instance: &'static Instance,
    node: pt::Node,
    refusal: &mut Option<MakeError>,
) -> Result<NewDomain<PvIommu>> {
    let aperture = instance.offer().aperture();
    let domain = allocate_in(instance, aperture, node, refusal);
    if !matches!(*refusal, Some(MakeError::FiveLevels(_))) {
        return domain;
    }
    instance.offer().give_up_five_levels();
    *refusal = None;
    allocate_in(instance, aperture.with_four_levels(), node, refusal)
}

fn report(dev: &device::Device, refusal: Option<MakeError>) {
    if let Some(refusal) = refusal {
        refusal.report(Some(dev), "no new domain");
    }
}

fn allocate_in(
    instance: &'static Instance,
    aperture: Aperture,
    node: pt::Node,
    refusal: &mut Option<MakeError>,
) -> Result<NewDomain<PvIommu>> {
    let config = pt::Config {
        shape: X86_64Shape {
            levels: match aperture.levels {
                Levels::Four => pt::Levels::Four,
                Levels::Five => pt::Levels::Five,
            },
            width: aperture.table_width(),
        },
        // The widest addresses that an entry can hold.
        output_width: 52,
        // Each unmap is gathered into one range, gaps included, for `flush`.
        features: pt::Features::FLUSH_RANGE,
        last: Iova::new(aperture.last()),
        page_sizes: instance.offer().page_sizes(),
        node,
    };
    Paging::<Domain>::allocate(config, |table| {
        let levels = match table.levels {
            pt::Levels::Four => Levels::Four,
            pt::Levels::Five => Levels::Five,
        };
        let (whole, unlisted) = (Reserved::new()?, Unlisted::new(table.root, levels)?);
        let translation = Translation::Table {
            root: table.root,
            levels,
        };
        let id = instance.domains().make(translation).inspect_err(|error| {
            *refusal = Some(*error);
        })?;
        Ok(Domain {
            instance,
            id,
            whole: whole.prepare(calls::flush_input(id)),
            listed: unlisted.enter(instance.list(), id),
            has_device_tlbs: AtomicFlag::new(false),
            emptied: AtomicFlag::new(false),
        })
    })
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = PvIommu;

    #[inline]
    fn attach(&self, target: &AttachTarget<'_, PvIommu>) -> Result {
        let endpoint = target.endpoint();
        if endpoint.has_ats() {
            self.has_device_tlbs.store(true, Relaxed);
        }
        endpoint.attach(
            self.id,
            TranslatedRequests::Allowed,
            target.demand(),
            Some(self.listed.stale()),
            self.instance.domains(),
        )
    }

    #[inline]
    fn flush_all(&self) {
        // When this fails, the devices are blocked, so the caller may free the memory. A device
        // that the IOMMU could not block was told by its own registers to stay off the bus.
        let _ = self.flush_whole();
    }
}

#[vtable]
impl TableDomain for Domain {
    type Format = X86_64;

    #[inline]
    fn flush(&self, gather: &Gather) -> FlushOutcome {
        self.flush_range(gather)
    }

    #[inline]
    fn release(&self) -> TableFate {
        if self.listed.stale().load(Relaxed) {
            // A delete may leave cached entries behind, so the table must stay.
            self.listed.retire();
            return TableFate::Leak;
        }
        // A delete may leave cached entries behind, and these may point at the tables. No device is
        // attached any more, so nothing is cached after this flush.
        if !self.instance.domains().is_closed() && self.flush_whole() == FlushOutcome::Stale {
            self.listed.retire();
            return TableFate::Leak;
        }
        match self.instance.domains().delete(self.id) {
            Deleted::Yes => {
                self.listed.leave(self.instance.list(), self.id);
                TableFate::Free
            }
            Deleted::No => {
                self.listed.retire();
                TableFate::Leak
            }
        }
    }
}
