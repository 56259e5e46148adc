// SPDX-License-Identifier: GPL-2.0
//! A domain that the core can have is made with its table, by the table's container. Nothing else becomes one.

use kernel::iommu::domain::NewDomain;
use kernel::prelude::*;
use sound::Sound;

#[cfg(misuse)]
pub fn allocate(memory: core::ptr::NonNull<kernel::bindings::iommu_domain>) -> Result<NewDomain<Sound>> {
    Ok(NewDomain::from_raw(memory)) //~ E0624: associated function `from_raw` is private
}

#[cfg(not(misuse))]
pub fn allocate() -> Result<NewDomain<Sound>> {
    sound::allocate()
}
