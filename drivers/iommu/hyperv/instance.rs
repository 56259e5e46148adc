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

/// Set before the IOMMU is registered, never changed nor dropped.
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

    /// Sets the IOMMU up: makes its static domains.
    ///
    /// Context: may sleep; once.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. That a domain cannot be had is no error: devices are then detached to block
    /// them, or cannot be attached to identity, and a message says so.
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

    /// The paging domains, one by one.
    pub(crate) fn list(&self) -> &DomainList {
        &self.list
    }

    /// What list flushes share.
    #[inline(always)]
    pub(crate) fn list_flush(&self) -> &ListFlush {
        &self.list_flush
    }

    /// The devices.
    pub(crate) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// The last resort when a domain cannot be flushed: closes it by its flag, and blocks its
    /// devices. When another CPU is at it already, this waits for that.
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

    /// The system shuts down: leaves all devices blocked, whoever still has them, so that none does
    /// DMA into the memory of a kernel that is started next, and no domain but the blocking one;
    /// one that is made at this very moment may stay, without a device.
    ///
    /// Context: may sleep.
    pub(crate) fn shut_down(&self) {
        let blocking = self.domains.want_blocking();
        let were_closed = self.domains.is_closed();
        let Tally { lost, .. } =
            protocol::shut_down(&self.devices, self.domains.closed(), blocking);
        if lost != 0 {
            let text = "% devices are not blocked at shutdown";
            say(Level::Err, None, text, &[Word::Number(lost as u64)]);
            return;
        }
        if were_closed {
            // They could not be made again after hibernation.
            return;
        }
        self.domains.delete_all();
    }
}
