// SPDX-License-Identifier: GPL-2.0

//! Paging domains: a device's DMA goes through a table of the guest.

use super::{
    aperture::{
        Aperture,
        Levels, //
    },
    calls,
    device_domain::FlushDeviceDomain,
    domain_ids::DomainId,
    domain_list::{
        Listed,
        Unlisted, //
    },
    endpoint::TranslatedRequests,
    instance::{
        Deleted,
        Instance,
        MakeError, //
    },
    ops::PvIommu,
    translation::Translation, //
};
use kernel::{
    device,
    hyperv::fixed_call::{
        FixedCall,
        Reserved, //
    },
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

/// What the driver keeps for a paging domain; the table is the kernel's. `flush.rs` flushes it.
pub(crate) struct Domain {
    pub(super) instance: &'static Instance,
    pub(super) id: DomainId,
    /// Its flush, prepared.
    pub(super) whole: FixedCall<FlushDeviceDomain>,
    pub(super) listed: Listed,
    /// A device that may have ATS on was attached once: what a flush costs, not what it must do,
    /// depends on that.
    pub(super) has_device_tlbs: AtomicFlag,
    /// After it was closed for a flush that failed, each device was seen to be blocked: nothing is left
    /// to be done.
    pub(super) emptied: AtomicFlag,
}

impl Domain {
    /// Allocates a domain for `dev`, with a table near to the device; with 4 levels, when the host
    /// turns out to take no more.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what the hypervisor's refusal stands for; there is a message about that.
    pub(crate) fn allocate(
        instance: &'static Instance,
        dev: &device::Device,
    ) -> Result<NewDomain<PvIommu>> {
        let mut refusal = None;
        let domain = Domain::allocate_for(instance, pt::Node::of(dev), &mut refusal);
        domain.inspect_err(|_| Domain::report(dev, refusal))
    }

    /// As [`Self::allocate`], with the hypervisor's refusal, if any, instead of a message.
    pub(super) fn allocate_for(
        instance: &'static Instance,
        node: pt::Node,
        refusal: &mut Option<MakeError>,
    ) -> Result<NewDomain<PvIommu>> {
        let aperture = instance.aperture();
        let domain = Domain::allocate_in(instance, aperture, node, refusal);
        if !matches!(*refusal, Some(MakeError::FiveLevels(_))) {
            return domain;
        }
        instance.give_up_five_levels();
        *refusal = None;
        Domain::allocate_in(instance, aperture.with_four_levels(), node, refusal)
    }

    fn report(dev: &device::Device, refusal: Option<MakeError>) {
        if let Some(refusal) = refusal {
            dev_err!(dev, "IOMMU: no new domain: {refusal}\n");
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
            // All that an entry can hold.
            output_width: 52,
            // Gathers become page-selective flushes, gaps included.
            features: pt::Features::FLUSH_RANGE,
            last: Iova::new(aperture.last()),
            page_sizes: instance.page_sizes(),
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
            let id = instance.make_domain(translation).inspect_err(|error| {
                *refusal = Some(*error);
            })?;
            Ok(Domain {
                instance,
                id,
                whole: whole.prepare(calls::flush_input(id)),
                listed: unlisted.enter(instance.domains(), id),
                has_device_tlbs: AtomicFlag::new(false),
                emptied: AtomicFlag::new(false),
            })
        })
    }
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = PvIommu;

    fn attach(&self, target: &AttachTarget<'_, PvIommu>) -> Result {
        let endpoint = target.endpoint();
        if endpoint.has_ats() {
            self.has_device_tlbs.store(true, Relaxed);
        }
        let closed_by = [self.listed.stale(), self.instance.shut_down_flag()];
        endpoint.attach(
            self.id,
            TranslatedRequests::Allowed,
            target.demand(),
            &closed_by,
        )
    }

    #[inline]
    fn flush_all(&self) {
        // The devices are blocked when this fails, so that the caller may free what it likes; one
        // that the IOMMU could not be made to block was told to stay off the bus.
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

    fn release(&self) -> TableFate {
        if self.listed.stale().load(Relaxed) {
            // Whether a delete drops what is cached is not documented: the domain stays.
            self.listed.retire();
            return TableFate::Leak;
        }
        // Nothing says that a delete drops what is cached, and entries that point at the tables may
        // be. No device is attached any more, so none comes back after this.
        if !self.instance.is_shut_down() && self.flush_whole() == FlushOutcome::Stale {
            self.listed.retire();
            return TableFate::Leak;
        }
        match self.instance.delete_domain(self.id) {
            Deleted::Yes => {
                self.listed.leave(self.instance.domains(), self.id);
                TableFate::Free
            }
            Deleted::No => {
                self.listed.retire();
                TableFate::Leak
            }
        }
    }
}
