// SPDX-License-Identifier: GPL-2.0
//! Which input belongs to which call code is promised by unsafe code.

use kernel::hyperv::hypercall::{self, Call};
use kernel::hyperv::status::HypercallError;

pub struct Mine;

macro_rules! body {
    () => {
        const CODE: u16 = 0xffff;
        const NAME: &'static str = "none";
        type Input = u64;
        type Output = ();
    };
}

#[cfg(misuse)]
//~v E0200: the trait `Call` requires an `unsafe impl` declaration
impl Call for Mine {
    body!();
}

#[cfg(not(misuse))]
#[allow(unsafe_code)]
// SAFETY: No hypervisor knows the call.
unsafe impl Call for Mine {
    body!();
}

pub fn make(input: &u64) -> Result<(), HypercallError> {
    hypercall::call::<Mine>(input)
}
