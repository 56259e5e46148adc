// SPDX-License-Identifier: GPL-2.0

//! The part of a device that changes: where its DMA goes, and what its own registers are set to.

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
        ats::{
            Ats,
            TranslationUnit, //
        },
        bus_master,
        present::{
            Present,
            PresentDevice, //
        }, //
    },
    prelude::*, //
};

/// Where the device's DMA goes, as far as the hypervisor said.
pub(crate) type Place = protocol::Place<DomainId, Blocked>;

/// The part of a device that changes.
pub(crate) struct State {
    pub(crate) place: Place,
    /// The domain, other than the blocking one, that the core put the device into last.
    chosen: Option<DomainId>,
    /// The device's ATS, on only while the device is in a domain with a table. [`None`] if the
    /// device or the IOMMU has none, and after the device was released.
    ats: Option<Ats>,
    /// A failed flush writes only the device's registers. What the kernel keeps about these
    /// registers is corrected later, in process context.
    unsettled: Unsettled,
    /// Where the device was when the system went to sleep.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) slept: Option<Place>,
}

/// What a failed flush has left to process context.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsettled {
    Nothing,
    /// The flush has switched ATS off.
    Ats,
    /// The flush has switched ATS off, and only the device's own register keeps it off the bus.
    BusMaster,
}

impl State {
    /// The state of a new device. Prepares the device's ATS.
    ///
    /// Context: may sleep.
    pub(super) fn new(pdev: &PresentDevice, ats: AtsSupport) -> State {
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

    /// Whether the device's id is another device's now, so that no call may name this one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.place == Place::Blocked(Blocked::Replaced)
    }

    /// Notes that the core puts the device into a domain.
    pub(super) fn choose(&mut self, id: DomainId) {
        self.chosen = Some(id);
    }

    /// Whether `id` is the domain that the core put the device into last.
    pub(super) fn was_chosen(&self, id: DomainId) -> bool {
        self.chosen == Some(id)
    }

    /// Whether the device may ask for translations while it is in a domain with a table.
    pub(super) fn has_ats(&self) -> bool {
        self.ats.is_some()
    }

    /// Takes the device's ATS, which must be off, out of the state before the device is released.
    pub(super) fn take_ats(&mut self) -> Option<Ats> {
        self.ats.take()
    }

    /// Lets the device ask for translations, if both the device and the IOMMU can.
    pub(super) fn switch_ats_on(&mut self) -> Result {
        match &mut self.ats {
            Some(ats) => ats.switch_on(TranslationUnit::Size4K),
            None => Ok(()),
        }
    }

    /// Keeps the device from asking for translations. Returns whether it was allowed to before.
    pub(super) fn switch_ats_off(&mut self) -> bool {
        self.ats.as_mut().is_some_and(Ats::switch_off)
    }

    /// As [`Self::switch_ats_off`], in any context; what needs process context is left to `settle`.
    pub(super) fn silence_ats(&mut self) {
        if self.ats.as_mut().is_some_and(Ats::silence) && self.unsettled == Unsettled::Nothing {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// Notes that a failed flush has kept the device off the bus by its register alone.
    pub(super) fn leave_bus_master(&mut self) {
        self.unsettled = Unsettled::BusMaster;
    }

    /// Whether a failed flush has left work for process context.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled != Unsettled::Nothing
    }

    /// Notes that the IOMMU controls the device again, so that it need not be kept off the bus.
    pub(super) fn forget_bus_master(&mut self) {
        if self.unsettled == Unsettled::BusMaster {
            self.unsettled = Unsettled::Ats;
        }
    }

    /// Does what a failed flush has left to process context, as far as it still applies.
    pub(super) fn settle(&mut self, pdev: &PresentDevice) {
        let left = mem::replace(&mut self.unsettled, Unsettled::Nothing);
        if left == Unsettled::Nothing {
            return;
        }
        // An attach since then may have switched ATS on again, and has put its state right.
        if let Some(ats) = self.ats.as_mut().filter(|ats| ats.is_silenced()) {
            ats.switch_off();
        }
        if left == Unsettled::BusMaster {
            bus_master::stop(pdev);
        }
    }
}

/// The function's ATS, if it has it, ready to be switched on. After a crash ATS is not made ready:
/// that would switch it off, and the device may be using it.
fn usable_ats(pdev: &PresentDevice) -> Option<Ats> {
    let mut ats = Ats::of(pdev)?;
    if readings::follows_a_crash() {
        ats.inherit();
        return Some(ats);
    }
    match ats.prepare(TranslationUnit::Size4K) {
        Ok(()) => Some(ats),
        Err(error) => {
            let dev = Some(pdev.function().as_ref());
            say(Level::Warn, dev, "no ATS: errno %", &[Word::Errno(error)]);
            None
        }
    }
}
