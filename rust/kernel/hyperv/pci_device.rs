// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's names for PCI functions of the machine itself.
//!
//! A partition that owns the machine's PCI names a device by the requester ids with which its DMA
//! reaches the IOMMU. Such an id may be the function's own, that of a bridge above it, or that of
//! the VMD endpoint that makes its DMA.

use super::pci_requester::{
    encode,
    Alias,
    BusAddress,
    BusRange,
    Path,
    Step, //
};
use crate::{
    fmt,
    pci::{
        dma_alias,
        present::Present, //
    },
    prelude::*, //
};

/// A device id of type PCI, by which hypercalls name a requester id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct PciDeviceId(u64);

impl PciDeviceId {
    /// The id of a requester in a PCI segment. `shadowed` are the buses behind a bridge in PCI-X
    /// mode for which the requester stands.
    pub const fn new(segment: u16, requester: u16, shadowed: Option<BusRange>) -> PciDeviceId {
        PciDeviceId(encode(segment, requester, shadowed))
    }

    /// All ids with which DMA of `pdev` may reach the IOMMU, at least one. Several functions may
    /// share an id.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if the PCI domain of an id has a number of more than 16 bits, or
    /// there is no id.
    pub fn all_of(pdev: &impl Present) -> Result<KVec<PciDeviceId>> {
        let mut path = Path::new();
        let mut ids = KVec::new();
        dma_alias::for_each(pdev, |reporter, requester| {
            let Step { alias, segment } = path.take(bus_of(reporter)?, requester);
            let mut shadowed = None;
            if alias == Alias::Instead {
                ids.clear();
                // The hypervisor wants the range of buses if the bridge runs in PCI-X mode, because
                // requests then keep ids of these buses.
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

/// The bus that a function is on.
fn bus_of(pdev: &impl Present) -> Result<BusAddress> {
    Ok(BusAddress {
        segment: u16::try_from(dma_alias::segment(pdev)).map_err(|_| EINVAL)?,
        number: (pdev.function().dev_id() >> 8) as u8,
    })
}

impl fmt::Display for PciDeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_pci_device)]
mod tests {
    use super::*;
    use crate::{
        bindings,
        device::Bound,
        pci, //
    };
    use core::ptr;

    /// A bus with one function, as the PCI core has them.
    struct Fake {
        sysdata: bindings::pci_sysdata,
        bus: bindings::pci_bus,
        function: bindings::pci_dev,
    }

    impl Fake {
        fn new(domain: i32, bus: u8, devfn: u32) -> Result<KBox<Fake>> {
            // SAFETY: All three structures consist of integers, pointers that may be null, and
            // structures of these. So all-zero bytes are valid.
            let mut fake: KBox<Fake> =
                unsafe { KBox::<Fake>::new_uninit(GFP_KERNEL | __GFP_ZERO)?.assume_init() };
            fake.sysdata.domain = domain;
            fake.bus.number = bus;
            fake.bus.sysdata = ptr::from_mut(&mut fake.sysdata).cast();
            fake.function.bus = &raw mut fake.bus;
            fake.function.devfn = devfn;
            Ok(fake)
        }

        /// Puts the bus behind the function of another bus.
        fn put_behind(&mut self, bridge: &mut Fake) {
            self.bus.parent = &raw mut bridge.bus;
            self.bus.self_ = &raw mut bridge.function;
        }

        fn ids(&self) -> Result<KVec<PciDeviceId>> {
            // SAFETY: Both types are transparent wrappers, and the wrapped type has no values of
            // its own. The code under test reads only what is set above.
            let device = unsafe { &*(&raw const self.function).cast::<pci::Device<Bound>>() };
            PciDeviceId::all_of(device)
        }
    }

    /// The segment of an id is that of the function that gives the id, not the segment of the
    /// function that does DMA. A PCI-to-PCI bridge takes the part of a VMD endpoint here.
    #[test]
    fn the_segment_is_that_of_the_function_that_gives_the_id() -> Result {
        let mut bridge = Fake::new(1, 0, 0x10)?;
        let mut function = Fake::new(5, 3, 0x08)?;
        assert!(*function.ids()? == [PciDeviceId::new(5, 0x0308, None)]);
        function.put_behind(&mut bridge);
        assert!(*function.ids()? == [PciDeviceId::new(1, 0x0010, None)]);
        Ok(())
    }

    #[test]
    fn a_segment_that_has_no_number_is_refused() -> Result {
        let function = Fake::new(0x1_0000, 3, 0x08)?;
        assert!(function.ids().err() == Some(EINVAL));
        Ok(())
    }

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
