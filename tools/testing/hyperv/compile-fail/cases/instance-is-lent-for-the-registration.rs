// SPDX-License-Identifier: GPL-2.0
//! What a driver keeps for an IOMMU goes with the registration.

use kernel::iommu::device::Registration;
use kernel::sync::atomic::ordering::Relaxed;
use sound::Sound;

pub fn remove(registration: Registration<Sound>) -> u32 {
    let instance = registration.data();
    #[cfg(misuse)]
    drop(registration); //~ E0505: cannot move out of `registration` because it is borrowed
    instance.devices.load(Relaxed)
}
