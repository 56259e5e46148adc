// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor reports about the IOMMU, and what the driver uses of it.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// `HV_IOMMU_CAP_PRESENT`.
pub(crate) const CAP_PRESENT: u64 = 1 << 0;
/// `HV_IOMMU_CAP_S2`: domains whose tables the hypervisor keeps.
pub(crate) const CAP_S2: u64 = 1 << 1;

/// A bitmap of page sizes: bit n stands for pages of 2^n bytes.
pub(crate) const BASE_PAGE: u64 = 1 << 12;
const LARGE_PAGE: u64 = 1 << 21;
const HUGE_PAGE: u64 = 1 << 30;

/// Narrowest address width that the driver takes, in bits. The window of interrupt messages below 4
/// GiB must lie in the address space, and so must the addresses of devices with 32-bit DMA.
pub(crate) const MIN_WIDTH: u8 = 32;

/// What the hypervisor reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostReport {
    /// `HV_IOMMU_CAP_*` bits.
    pub(crate) flags: u64,
    /// The width of an address, in bits.
    pub(crate) width: u8,
    /// Page sizes. Bit n: pages of 2^n bytes.
    pub(crate) page_sizes: u64,
}

/// What the driver uses of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The last address that can be mapped.
    pub(crate) last: u64,
    /// Page sizes. Bit n: pages of 2^n bytes.
    pub(crate) page_sizes: u64,
}

/// Why the IOMMU is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is none, which needs no message.
    Absent,
    /// The hypervisor keeps no tables.
    NoStage2,
    /// The hypervisor takes no pages of 4 KiB.
    NoBasePage,
    /// Addresses have less than [`MIN_WIDTH`] bits.
    TooNarrow,
}

impl HostReport {
    /// Decides whether the driver can use the IOMMU.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn judge(&self) -> Result<Capabilities, Unusable> {
        if self.flags & CAP_PRESENT == 0 {
            return Err(Unusable::Absent);
        }
        if self.flags & CAP_S2 == 0 {
            return Err(Unusable::NoStage2);
        }
        if self.page_sizes & BASE_PAGE == 0 {
            return Err(Unusable::NoBasePage);
        }
        if self.width < MIN_WIDTH {
            return Err(Unusable::TooNarrow);
        }
        // The interface knows no pages above 2 MiB, so pages of 1 GiB are mapped as many of these.
        let large = if self.page_sizes & LARGE_PAGE != 0 {
            LARGE_PAGE | HUGE_PAGE
        } else {
            0
        };
        Ok(Capabilities {
            last: last_of(self.width),
            page_sizes: BASE_PAGE | large,
        })
    }
}

/// The last address of an address space of `width` bits.
pub(crate) fn last_of(width: u8) -> u64 {
    match 1u64.checked_shl(width.into()) {
        Some(end) => end - 1,
        None => u64::MAX,
    }
}
