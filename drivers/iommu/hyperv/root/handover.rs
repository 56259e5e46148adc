// SPDX-License-Identifier: GPL-2.0

//! Gives everything back to the hypervisor before another kernel takes over.

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

/// Gives everything back to the hypervisor, as the next kernel expects it. Devices go back to
/// identity, where they were found. Domains are deleted, and the memory for them is withdrawn. Once
/// this has begun, nothing can be attached, created or mapped.
///
/// Programs run until the processors are stopped, which happens later. The PCI core has switched
/// off bus mastering of the devices that they use, but they can switch it on again. So these
/// devices are blocked, and stay blocked. A device that cannot be put back to identity is blocked,
/// too.
///
/// Context: may sleep; the devices that the kernel itself uses no longer do DMA.
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

/// Takes back the deposited memory that the hypervisor does not use.
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
