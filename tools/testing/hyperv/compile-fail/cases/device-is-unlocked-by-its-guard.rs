// SPDX-License-Identifier: GPL-2.0
//! A device's lock is given back by whoever took it, when the work is done.

use kernel::device::{lock, Device};

pub fn look(dev: &Device) -> bool {
    lock::with_locked(dev, || {
        #[cfg(misuse)]
        kernel::bindings::device_unlock(dev.as_raw()); //~ E0624: method `as_raw` is private
        true
    })
}
