// SPDX-License-Identifier: GPL-2.0
//! The identity domain cannot take the place of the blocking one, where devices are left.

use kernel::iommu::ops::Ops;
use sound::Sound;

#[cfg(not(misuse))]
use sound::BLOCKING as LEFT_IN;
#[cfg(misuse)]
use sound::IDENTITY as LEFT_IN;

pub static OPS: Ops<Sound> = Ops::new().with_blocking(&LEFT_IN); //~ E0080: with_blocking::<sound::Identity>
