// SPDX-License-Identifier: GPL-2.0
//! A reference to a function keeps its memory, not its bus: its registers cannot be used with that alone.

use kernel::pci::bus_master;
#[cfg(not(misuse))]
use kernel::pci::present::PresentDevice as Function;
#[cfg(misuse)]
use kernel::pci::Device as Function;

pub fn stop(function: &Function) {
    bus_master::stop_at_once(function); //~ E0277: the trait bound `kernel::pci::Device: Present` is not satisfied
}
