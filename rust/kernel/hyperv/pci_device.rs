// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's names for PCI functions of the machine's own.
//!
//! A partition that owns the machine's PCI calls a device by the requester ids that its DMA carries
//! on the way to the IOMMU: its own, or that of a bridge above it.

use super::pci_requester::{
    encode,
    read_alias,
    Alias,
    BusRange, //
};
use crate::{
    fmt,
    pci::{
        self,
        dma_alias, //
    },
    prelude::*, //
};

/// A device id of type PCI: what hypercalls call a requester id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciDeviceId(u64);

impl PciDeviceId {
    /// The id of a requester in a PCI segment.
    pub const fn new(segment: u16, requester: u16, shadowed: Option<BusRange>) -> PciDeviceId {
        PciDeviceId(encode(segment, requester, shadowed))
    }

    /// All ids by which DMA of `pdev` may come, at least one. Several functions may have the same
    /// one.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`]: the function's PCI domain has no number that fits.
    pub fn all_of(pdev: &pci::Device) -> Result<KVec<PciDeviceId>> {
        let segment = u16::try_from(dma_alias::segment(pdev)).map_err(|_| EINVAL)?;
        let mut bus = (pdev.dev_id() >> 8) as u8;
        let mut ids = KVec::new();
        dma_alias::for_each(pdev, |reporter, requester| {
            let mut shadowed = None;
            if read_alias(bus, (reporter.dev_id() >> 8) as u8, requester) == Alias::Instead {
                ids.clear();
                bus = (requester >> 8) as u8;
                // The hypervisor wants the range of buses when the bridge runs in PCI-X mode:
                // there, requests keep ids of those buses.
                shadowed = dma_alias::pcix_buses(reporter).map(|buses| BusRange {
                    secondary: buses.0,
                    subordinate: buses.1,
                });
            }
            let id = PciDeviceId::new(segment, requester, shadowed);
            if ids.contains(&id) {
                return Ok(());
            }
            Ok(ids.push(id, GFP_KERNEL)?)
        })?;
        if ids.is_empty() {
            return Err(EINVAL);
        }
        Ok(ids)
    }

    /// The id as hypercalls take it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PciDeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_pci_device)]
mod tests {
    use super::*;

    #[test]
    fn segment_requester_and_buses_have_their_bits() {
        assert_eq!(
            PciDeviceId::new(0, 0x28, None).as_u64(),
            0x4000_0000_0000_0028
        );
        assert_eq!(
            PciDeviceId::new(0x1234, 0xff07, None).as_u64(),
            0x4000_0000_1234_ff07
        );
        let buses = BusRange {
            secondary: 5,
            subordinate: 7,
        };
        assert_eq!(
            PciDeviceId::new(1, 0x0500, Some(buses)).as_u64(),
            0x4004_0507_0001_0500
        );
    }
}
