// SPDX-License-Identifier: GPL-2.0
//! Control of a device's ATS is not copied: two would disagree about whether it is on.

use kernel::pci::ats::Ats;

#[cfg(misuse)]
pub fn share(ats: Ats) -> (Ats, Ats) {
    (ats, ats) //~ E0382: use of moved value: `ats`
}

#[cfg(not(misuse))]
pub fn share(ats: Ats) -> (Ats, ()) {
    (ats, ())
}
