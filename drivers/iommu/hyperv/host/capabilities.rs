// SPDX-License-Identifier: GPL-2.0

//! Decides which IOMMUs the driver can serve.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::aperture::{
    Aperture,
    Levels, //
};

/// Bits of the host's report; the same numbers as `HV_IOMMU_CAP_*` of the C header.
pub(crate) const CAP_PRESENT: u64 = 1 << 0;
pub(crate) const CAP_S1: u64 = 1 << 2;
pub(crate) const CAP_S1_5LVL: u64 = 1 << 3;
pub(crate) const CAP_ATS: u64 = 1 << 5;

/// The page size that every table needs, in bytes. It is also this size's bit in the bitmap.
pub(crate) const BASE_PAGE: u64 = 4096;

/// What the host reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostReport {
    /// `HV_IOMMU_CAP_*` bits.
    pub(crate) flags: u64,
    /// Widest IOVA, in bits.
    pub(crate) max_iova_width: u8,
    /// Bit n: pages of 2^n bytes.
    pub(crate) page_sizes: u64,
}

/// An IOMMU that the driver can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) aperture: Aperture,
    /// Bit n: pages of 2^n bytes; 4 KiB among them.
    pub(crate) page_sizes: u64,
    pub(crate) ats: AtsSupport,
}

/// Whether the IOMMU answers devices' requests for translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtsSupport {
    Offered,
    NotOffered,
}

/// Why an IOMMU cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is none, which needs no message.
    Absent,
    /// It has no stage-1 translation.
    NoStage1,
    /// It has no 4 KiB pages.
    NoBasePage,
    /// Its address space is too narrow.
    TooNarrow,
}

impl Capabilities {
    /// Whether an IOMMU of these capabilities can take the place of one of `former` capabilities.
    /// Its tables must be as deep and as wide, it must have the same page sizes, and it must have
    /// ATS if the former one had it.
    #[allow(dead_code)] // Without hibernation nobody asks.
    pub(crate) fn replaces(&self, former: &Capabilities) -> bool {
        self.aperture.width >= former.aperture.width
            && self.aperture.levels.count() >= former.aperture.levels.count()
            && self.page_sizes & former.page_sizes == former.page_sizes
            && (self.ats == AtsSupport::Offered || former.ats == AtsSupport::NotOffered)
    }
}

impl HostReport {
    /// Decides whether the driver can serve the IOMMU.
    pub(crate) fn judge(&self) -> Result<Capabilities, Unusable> {
        if self.flags & CAP_PRESENT == 0 {
            return Err(Unusable::Absent);
        }
        if self.flags & CAP_S1 == 0 {
            return Err(Unusable::NoStage1);
        }
        if self.page_sizes & BASE_PAGE == 0 {
            return Err(Unusable::NoBasePage);
        }
        let deepest = if self.flags & CAP_S1_5LVL != 0 {
            Levels::Five
        } else {
            Levels::Four
        };
        let aperture =
            Aperture::choose(self.max_iova_width, deepest).map_err(|_| Unusable::TooNarrow)?;
        Ok(Capabilities {
            aperture,
            page_sizes: self.page_sizes,
            ats: if self.flags & CAP_ATS != 0 {
                AtsSupport::Offered
            } else {
                AtsSupport::NotOffered
            },
        })
    }
}
