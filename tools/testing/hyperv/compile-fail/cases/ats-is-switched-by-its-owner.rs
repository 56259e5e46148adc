// SPDX-License-Identifier: GPL-2.0
//! ATS is switched by whoever owns its control, not by everybody who can see that.

use kernel::pci::ats::{Ats, TranslationUnit};
use kernel::prelude::*;

#[cfg(misuse)]
pub fn switch_on(ats: &Ats) -> Result {
    ats.switch_on(TranslationUnit::Size4K) //~ E0596: cannot borrow `*ats` as mutable
}

#[cfg(not(misuse))]
pub fn switch_on(ats: &mut Ats) -> Result {
    ats.switch_on(TranslationUnit::Size4K)
}
