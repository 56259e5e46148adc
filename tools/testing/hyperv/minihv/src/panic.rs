// SPDX-License-Identifier: GPL-2.0
//! The panic handler.

use core::panic::PanicInfo;

use crate::console::fatal;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => fatal!("panic at {}:{}: {}", place.file(), place.line(), info.message()),
        None => fatal!("panic: {}", info.message()),
    }
}
