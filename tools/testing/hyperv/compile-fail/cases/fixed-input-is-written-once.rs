// SPDX-License-Identifier: GPL-2.0
//! The input of a prepared call does not change: any processor may be making the call.

use kernel::hyperv::fixed_call::{FixedCall, Reserved};
use kernel::hyperv::hypercall::Call;
use kernel::prelude::*;

pub fn prepare<C: Call<Output = ()>>(first: C::Input, second: C::Input) -> Result<[FixedCall<C>; 2]> {
    let reserved = Reserved::<C>::new()?;
    #[cfg(not(misuse))]
    let other = Reserved::<C>::new()?;
    let call = reserved.prepare(first);
    #[cfg(misuse)]
    let other = reserved; //~ E0382: use of moved value: `reserved`
    Ok([call, other.prepare(second)])
}
