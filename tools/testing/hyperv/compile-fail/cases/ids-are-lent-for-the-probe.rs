// SPDX-License-Identifier: GPL-2.0
//! The ids that firmware gives a device are lent to the driver while it probes the device: it copies what it keeps.

use kernel::iommu::probed::Probing;

#[cfg(misuse)]
pub fn ids<'a>(device: &Probing<'a>) -> &'a [u32] {
    device.ids() //~ E0621: explicit lifetime required in the type of `device`
}

#[cfg(not(misuse))]
pub fn ids<'a>(device: &'a Probing<'_>) -> &'a [u32] {
    device.ids()
}
