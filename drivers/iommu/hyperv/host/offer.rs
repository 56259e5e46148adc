// SPDX-License-Identifier: GPL-2.0

//! What the host's IOMMU can do, and how much of that is used.

use super::{
    aperture::Aperture,
    capabilities::{
        AtsSupport,
        Capabilities,
        HostReport, //
    },
    message::{
        say,
        Level, //
    }, //
};
use kernel::sync::atomic::{
    ordering::Relaxed,
    AtomicFlag, //
};

/// What the host offers, and what of that turned out not to work.
pub(crate) struct Offer {
    report: HostReport,
    capabilities: Capabilities,
    /// The host has refused a 5-level table.
    no_five_levels: AtomicFlag,
}

impl Offer {
    /// `capabilities` are the result of judging `report`.
    pub(crate) fn new(report: HostReport, capabilities: Capabilities) -> Offer {
        Offer {
            report,
            capabilities,
            no_five_levels: AtomicFlag::new(false),
        }
    }

    /// What the host reports.
    pub(crate) fn report(&self) -> &HostReport {
        &self.report
    }

    /// What the host's IOMMU can do.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The address space for new domains.
    pub(crate) fn aperture(&self) -> Aperture {
        let aperture = self.capabilities.aperture;
        if self.no_five_levels.load(Relaxed) {
            aperture.with_four_levels()
        } else {
            aperture
        }
    }

    /// The page sizes that tables may use, bit n for 2^n bytes.
    pub(crate) fn page_sizes(&self) -> u64 {
        self.capabilities.page_sizes
    }

    /// Whether devices may be allowed to ask for translations.
    pub(crate) fn ats(&self) -> AtsSupport {
        self.capabilities.ats
    }

    /// Remembers that the host takes no 5-level tables.
    pub(crate) fn give_up_five_levels(&self) {
        if !self.no_five_levels.xchg(true, Relaxed) {
            let text = "the host refuses 5-level tables, going on with 4 levels";
            say(Level::Info, None, text, &[]);
        }
    }
}
