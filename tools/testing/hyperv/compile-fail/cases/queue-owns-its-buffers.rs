// SPDX-License-Identifier: GPL-2.0
//! What was given to a device is not touched until the device gives it back.

use kernel::prelude::*;
use kernel::virtio::buffer::Buffer;
use kernel::virtio::queue::{Locked, State};

pub fn send<S: State>(queue: &mut Locked<'_, S>, mut buffer: KBox<Buffer<S::Context>>) -> Result {
    #[cfg(not(misuse))]
    buffer.prepare(&[0u8; 4], 8)?;
    queue.add(buffer).map_err(|refused| refused.error)?;
    #[cfg(misuse)]
    buffer.prepare(&[0u8; 4], 8)?; //~ E0382: borrow of moved value: `buffer`
    queue.kick();
    Ok(())
}
