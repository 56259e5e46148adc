// SPDX-License-Identifier: GPL-2.0

//! A PCI driver that uses the DMA API, for QEMU's educational device (`-device edu`).
//!
//! When the driver is bound, it makes the device read coherent memory and a streaming mapping. The
//! device then writes back what it has read, and the driver compares that. If the device is behind
//! an IOMMU, all of this goes through the page tables of the IOMMU's driver.
//!
//! - [`device`]: the registers, and how the driver makes the device do DMA;
//! - [`transfers`]: what the driver maps, and what it compares.
//!
//! With the parameter `unmapped=1` the device also reads an address that is not mapped. An IOMMU
//! refuses that, and its driver reports it. Without an IOMMU the device reads four bytes of memory,
//! which nobody looks at.

mod device;
mod transfers;

use crate::device::Edu;
use kernel::{
    device::Core,
    dma::{
        Device,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

/// QEMU's ids. The kernel's list of vendors has no name for this one, so the table below matches
/// the class instead.
const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;

/// The class of devices without a class, and the bits that are compared.
const CLASS: u32 = 0x00_ff00;
const CLASS_MASK: u32 = 0xff_ff00;

struct EduDma;

kernel::pci_device_table!(
    PCI_TABLE,
    <EduDma as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(CLASS, CLASS_MASK), ())]
);

impl pci::Driver for EduDma {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        if (pdev.vendor_id().as_raw(), pdev.device_id()) != (VENDOR, DEVICE) {
            return Err(ENODEV);
        }
        pdev.enable_device_mem()?;
        // The default of QEMU's property `dma_mask`.
        let mask = DmaMask::new::<28>();
        // SAFETY: The driver is not bound yet, so nobody allocates or maps for the device.
        unsafe { pdev.dma_set_mask_and_coherent(mask)? };
        pdev.set_master();

        let edu = Edu::new(pdev)?;
        transfers::coherent(pdev, &edu)?;
        transfers::streaming(pdev, &edu)?;
        if module_parameters::unmapped.value() {
            transfers::unmapped(pdev, &edu)?;
        }
        Ok(EduDma)
    }
}

kernel::module_pci_driver! {
    type: EduDma,
    name: "rust_edu_dma",
    authors: ["The hv-pviommu developers"],
    description: "DMA by QEMU's educational device",
    license: "GPL",
    params: {
        unmapped: bool {
            default: false,
            description: "Have the device read an address that is not mapped",
        },
    },
}
