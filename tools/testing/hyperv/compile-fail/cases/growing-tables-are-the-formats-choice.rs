// SPDX-License-Identifier: GPL-2.0
//! A table whose top may change in use is none that a driver can ask for: the IOMMU would go on with the old root.

use kernel::iommu::domain::NewDomain;
use kernel::iommu::pt::{Config, Features, Paging};
use kernel::prelude::*;
use sound::{Sound, Table, CONFIG};

#[cfg(misuse)]
const FEATURES: Features = Features::DYNAMIC_TOP; //~ E0624: associated constant `DYNAMIC_TOP` is private
#[cfg(not(misuse))]
const FEATURES: Features = Features::FLUSH_RANGE;

pub fn allocate() -> Result<NewDomain<Sound>> {
    let config = Config { features: FEATURES, ..CONFIG };
    Paging::<Table>::allocate(config, |info| Ok(Table { info }))
}
