// SPDX-License-Identifier: GPL-2.0
//! The input page belongs to one call: what fills it cannot make another call.

use kernel::hyperv::list_call::{self, ListCall, Progress};

pub struct Numbers;

// SAFETY: The call is never made.
#[allow(unsafe_code)]
unsafe impl ListCall for Numbers {
    const CODE: u16 = 0xffff;
    const NAME: &'static str = "numbers";
    type Header = u64;
    type Element = u64;
}

#[cfg(misuse)]
pub fn call() -> Progress {
    list_call::make::<Numbers>(&0, |index: usize| index as u64) //~ E0277: Elements<u64>` is not satisfied
}

#[cfg(not(misuse))]
pub fn call() -> Progress {
    let numbers: &[u64] = &[1, 2];
    list_call::make::<Numbers>(&0, numbers)
}
