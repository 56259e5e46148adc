// SPDX-License-Identifier: GPL-2.0

//! What changes of a device: where its DMA goes, and what of that its own registers are told.

use super::{
    block::Blocked,
    protocol, //
};
use crate::host::{
    capabilities::AtsSupport,
    domain_ids::DomainId,
    message::{
        say,
        Level,
        Word, //
    },
    readings, //
};
use core::mem;
use kernel::{
    pci::{
        self,
        ats::{
            Ats,
            TranslationUnit, //
        },
        bus_master, //
    },
    prelude::*, //
};

/// Where the device's DMA goes, as far as the hypervisor said.
pub(crate) type Place = protocol::Place<DomainId, Blocked>;

/// What changes of a device.
pub(crate) struct State {
    pub(crate) place: Place,
    /// The domain, other than the blocking one, that the core has last put the device into.
    chosen: Option<DomainId>,
    /// On only while the device is in a domain with a table. [`None`] as well when the device is
    /// released.
    ats: Option<Ats>,
    /// A flush that failed has written registers of the device; what the kernel keeps about them is
    /// to follow in process context.
    unsettled: Unsettled,
    /// Where it was when the system went to sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) slept: Option<Place>,
}

/// What is left to process context.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsettled {
    Nothing,
    /// ATS is off.
    Ats,
    /// ATS is off, and the device could not be blocked but by itself.
    BusMaster,
}

impl State {
    /// Of a device that nothing was done about so far.
    ///
    /// Context: may sleep.
    pub(super) fn new(pdev: &pci::Device, ats: AtsSupport) -> State {
        State {
            place: Place::Initial,
            chosen: None,
            ats: match ats {
                AtsSupport::Offered => usable_ats(pdev),
                AtsSupport::NotOffered => None,
            },
            unsettled: Unsettled::Nothing,
            #[cfg(CONFIG_HIBERNATION)]
            slept: None,
        }
    }

    /// Whether the host was seen to have taken the device away.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self.place,
            Place::Blocked(Blocked::Gone | Blocked::Replaced)
        )
    }

    /// Whether no call may name the device.
    pub(crate) fn is_replaced(&self) -> bool {
        self.place == Place::Blocked(Blocked::Replaced)
    }

    /// The core puts the device into a domain.
    pub(super) fn choose(&mut self, id: DomainId) {
        self.chosen = Some(id);
    }

    /// Whether that is the domain that the core has last put the device into.
    pub(super) fn was_chosen(&self, id: DomainId) -> bool {
        self.chosen == Some(id)
    }

    /// Whether the device may ask for translations while it is in a domain with a table.
    pub(super) fn has_ats(&self) -> bool {
        self.ats.is_some()
    }

    /// Takes the device's ATS out, which is off, before the device is released.
    pub(super) fn take_ats(&mut self) -> Option<Ats> {
        self.ats.take()
    }

    /// Lets the device ask for translations, if it can and the IOMMU answers.
    pub(super) fn switch_ats_on(&mut self) -> Result {
        match &mut self.ats {
            Some(ats) => ats.switch_on(TranslationUnit::Size4K),
            None => Ok(()),
        }
    }

    /// Keeps the device from asking for translations. Whether it was allowed to.
    pub(super) fn switch_ats_off(&mut self) -> bool {
        self.ats.as_mut().is_some_and(Ats::switch_off)
    }

    /// The same in any context; something may be left to process context.
    pub(super) fn silence_ats(&mut self) {
        if self.ats.as_mut().is_some_and(Ats::silence) && self.unsettled == Unsettled::Nothing {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// The device was told by its registers alone to stay off the bus.
    pub(super) fn leave_bus_master(&mut self) {
        self.unsettled = Unsettled::BusMaster;
    }

    /// Whether something is left to process context.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled != Unsettled::Nothing
    }

    /// The device is where it should be, whatever was told to itself before.
    pub(super) fn forget_bus_master(&mut self) {
        if self.unsettled == Unsettled::BusMaster {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// Does what was left to process context, as far as it still applies.
    pub(super) fn settle(&mut self, pdev: &pci::Device) {
        let left = mem::replace(&mut self.unsettled, Unsettled::Nothing);
        if left == Unsettled::Nothing {
            return;
        }
        // An attach since then has put it right, and may have switched ATS on.
        if let Some(ats) = self.ats.as_mut().filter(|ats| ats.is_silenced()) {
            ats.switch_off();
        }
        if left == Unsettled::BusMaster {
            bus_master::stop(pdev);
        }
    }
}

/// The function's ATS, if it has that, ready to be switched on. Not made ready after a crash: that
/// would switch ATS off, which the device may be using.
fn usable_ats(pdev: &pci::Device) -> Option<Ats> {
    let mut ats = Ats::of(pdev)?;
    if readings::follows_a_crash() {
        return Some(ats);
    }
    match ats.prepare(TranslationUnit::Size4K) {
        Ok(()) => Some(ats),
        Err(error) => {
            let dev = Some(pdev.as_ref());
            say(Level::Warn, dev, "no ATS: errno %", &[Word::Errno(error)]);
            None
        }
    }
}
