// SPDX-License-Identifier: GPL-2.0
//! Bus mastering is a bit beside others, which the PCI core writes: only a driver of an IOMMU, which has promised when it
//! does so, switches it off by that bit.

#[cfg(misuse)]
use kernel::device::Bound;
use kernel::pci::bus_master;
#[cfg(not(misuse))]
use kernel::pci::present::PresentDevice;
#[cfg(misuse)]
use kernel::pci::Device;

#[cfg(not(misuse))]
type Function = PresentDevice;
#[cfg(misuse)]
type Function = Device<Bound>;

pub fn stop(function: &Function) {
    bus_master::stop(function); //~ E0308: mismatched types
}
