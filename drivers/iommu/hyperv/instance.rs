// SPDX-License-Identifier: GPL-2.0

//! The one IOMMU of the partition: what the host offers, the domains, and the devices.

use super::{
    device::{
        list::Devices,
        protocol::{
            self,
            GivenUp,
            Tally, //
        }, //
    },
    host::{
        capabilities::{
            Capabilities,
            HostReport, //
        },
        domain_ids::{
            Base,
            DomainId, //
        },
        list_flush::ListFlush,
        message::{
            say,
            Level,
            Word, //
        },
        offer::Offer,
        readings, //
    },
    known::{
        domains::Domains,
        list::DomainList, //
    }, //
};
use core::mem::ManuallyDrop;
use kernel::{
    prelude::*,
    sync::{
        atomic::AtomicFlag,
        SetOnce, //
    }, //
};

/// The IOMMU.
#[pin_data]
pub(crate) struct Instance {
    offer: Offer,
    #[pin]
    domains: Domains,
    #[pin]
    list: DomainList,
    list_flush: ListFlush,
    #[pin]
    devices: Devices,
}

/// Set before the IOMMU is registered, and never changed or dropped.
static INSTANCE: SetOnce<ManuallyDrop<Pin<KBox<Instance>>>> = SetOnce::new();

impl Instance {
    /// The IOMMU.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] before it is set up.
    pub(crate) fn get() -> Result<&'static Instance> {
        INSTANCE.as_ref().map(|instance| &***instance).ok_or(ENODEV)
    }

    /// Sets the IOMMU up and makes its static domains.
    ///
    /// Context: may sleep; called once.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. A static domain that the hypervisor refuses is no error: a message says so.
    /// Without the blocking domain, devices are detached to block them; without the identity
    /// domain, none can be attached to it.
    pub(crate) fn set_up(
        report: HostReport,
        capabilities: Capabilities,
    ) -> Result<&'static Instance> {
        let instance = Instance::make(report, capabilities)?;
        INSTANCE.populate(ManuallyDrop::new(instance));
        Instance::get()
    }

    /// Makes an IOMMU with its static domains, for [`Self::set_up`].
    pub(crate) fn make(
        report: HostReport,
        capabilities: Capabilities,
    ) -> Result<Pin<KBox<Instance>>> {
        let base = if readings::follows_a_crash() {
            Base::High
        } else {
            Base::Low
        };
        let list_flush = ListFlush::new()?;
        let instance = KBox::pin_init(
            pin_init!(Instance {
                offer: Offer::new(report, capabilities),
                domains <- Domains::new(base),
                list <- DomainList::new(),
                list_flush,
                devices <- Devices::new(),
            }),
            GFP_KERNEL,
        )?;
        instance.domains.make_statics();
        Ok(instance)
    }

    /// What the host offers.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The domains.
    pub(crate) fn domains(&self) -> &Domains {
        &self.domains
    }

    /// The list of paging domains.
    pub(crate) fn list(&self) -> &DomainList {
        &self.list
    }

    /// What the list flushes of all domains share.
    #[inline(always)]
    pub(crate) fn list_flush(&self) -> &ListFlush {
        &self.list_flush
    }

    /// The devices.
    pub(crate) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Gives up a domain that cannot be flushed: raises its `stale` flag, and blocks its devices.
    /// If another CPU gives up the same domain at this time, this function still returns only after
    /// the devices are blocked.
    ///
    /// Context: any.
    #[cold]
    pub(crate) fn give_up(
        &self,
        id: DomainId,
        stale: &AtomicFlag,
        emptied: &AtomicFlag,
    ) -> (GivenUp, Tally) {
        protocol::give_up(&self.devices, stale, emptied, id, self.domains.blocking())
    }

    /// Leaves nothing to the next kernel that could do DMA into its memory: blocks all devices,
    /// whoever still uses them, and deletes all domains but the blocking one. A domain that is made
    /// at this very moment may stay, but has no device.
    ///
    /// Context: may sleep; the system shuts down.
    pub(crate) fn shut_down(&self) {
        let blocking = self.domains.want_blocking();
        let were_closed = self.domains.is_closed();
        let Tally { lost, .. } =
            protocol::shut_down(&self.devices, self.domains.closed(), blocking);
        let lost = lost.saturating_add(self.devices.let_go().block_loose(blocking));
        if lost != 0 {
            let text = "% devices are not blocked at shutdown";
            say(Level::Err, None, text, &[Word::Number(lost as u64)]);
            return;
        }
        if were_closed {
            // A resume has failed, and has left the IOMMU closed. The hypervisor may not know these
            // domains, or may know others by their numbers.
            return;
        }
        self.domains.delete_all();
    }
}
