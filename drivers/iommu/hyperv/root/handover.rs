// SPDX-License-Identifier: GPL-2.0

//! What is given back to the hypervisor before another kernel takes over.

use super::{
    instance::Instance,
    memory::{
        self,
        Balance, //
    },
    places::Survey, //
};
use kernel::{
    hyperv::memory::{
        DepositError,
        WITHDRAW, //
    },
    prelude::*, //
};

/// Gives everything back to the hypervisor, as the next kernel expects it: devices to identity,
/// where they were found, the domains, and the memory that these needed. From the beginning on
/// nothing is attached, created or mapped any more.
///
/// Programs run on until the processors are stopped, which comes later. The PCI core has switched
/// off bus mastering of the devices that they have; they can switch it on again. These devices are
/// blocked, and stay so. A device that cannot be had back is blocked as well.
///
/// Context: may sleep; when the kernel's own devices do no DMA any more.
pub(crate) fn shut_down(instance: &Instance) {
    instance.leave();
    let Survey { held, astray } = instance.hand_over_requesters();
    if held > 0 {
        pr_notice!("{held} devices that programs have stay blocked\n");
    }
    if astray > 0 {
        pr_err!("{astray} devices are not where the next kernel expects them\n");
    }
    instance.delete_empty_domains();
    take_back_memory();
}

/// Has the hypervisor give back what it does not use any more of what it was given.
fn take_back_memory() {
    let Balance {
        given,
        kept,
        result,
    } = memory::take_back();
    if let Err(DepositError::Refused(failure)) = result {
        pr_err!("{WITHDRAW}: {failure}\n");
    }
    if kept > 0 {
        pr_notice!("the hypervisor keeps {kept} of {given} pages\n");
    }
}
