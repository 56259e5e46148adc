// SPDX-License-Identifier: GPL-2.0
//! A configuration space is read as numbers, of which any bytes are one.

use kernel::prelude::*;
use kernel::virtio::config::{Config, Layout};

#[cfg(misuse)]
pub type Read = bool;
#[cfg(not(misuse))]
pub type Read = u8;

#[inline(always)]
pub fn first<L: Layout>(config: &Config<'_, L>) -> Result<Read> {
    Ok(config.read::<Read>(0)) //~ E0277: the trait bound `bool: Field` is not satisfied
}
