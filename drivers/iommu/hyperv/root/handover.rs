// SPDX-License-Identifier: GPL-2.0

//! Gives everything back to the hypervisor before another kernel takes over.

use super::{
    instance::Instance,
    memory::Balance,
    places::Survey, //
};
use kernel::{
    hyperv::memory::{
        DepositError,
        WITHDRAW, //
    },
    prelude::*, //
};

/// Gives everything back to the hypervisor, as the next kernel expects it: devices and domains, and
/// then the memory that the hypervisor does not use any more.
///
/// Context: may sleep; the devices that the kernel itself uses no longer do DMA.
pub(crate) fn shut_down(instance: &Instance) {
    give_back_devices(instance);
    take_back_memory(instance);
}

/// Gives devices and domains back to the hypervisor. Devices go back to identity, where they were
/// found, and domains are deleted. Once this has begun, nothing can be attached, created or mapped.
///
/// The memory stays with the hypervisor: what is withdrawn does not go back to the kernel's
/// allocator, and may be that of other parts of the kernel. That is of use to the next kernel only.
///
/// Programs run until the processors are stopped, which happens later. The PCI core has switched
/// off bus mastering of the devices that they use, but they can switch it on again. So these
/// devices are blocked, and stay blocked. A device that cannot be put back to identity is blocked,
/// too.
///
/// Context: may sleep; the devices that the kernel itself uses no longer do DMA.
pub(crate) fn give_back_devices(instance: &Instance) {
    instance.leave();
    let Survey { held, astray } = instance.hand_over_requesters();
    if held > 0 {
        pr_notice!("{held} requester ids of devices that programs have stay blocked\n");
    }
    if astray > 0 {
        pr_err!("{astray} requester ids are not where the next kernel expects them\n");
    }
    instance.delete_empty_domains();
}

/// Leaves devices where they are, and deletes the domains that no device is in. Nothing can be
/// attached, created or mapped after this.
///
/// Context: may sleep.
pub(crate) fn leave_devices(instance: &Instance) {
    instance.leave();
    instance.delete_empty_domains();
}

/// Takes back the deposited memory that the hypervisor does not use.
fn take_back_memory(instance: &Instance) {
    let Balance {
        given,
        kept,
        result,
    } = instance.supply().take_back();
    if let Err(DepositError::Refused(failure)) = result {
        pr_err!("{WITHDRAW}: {failure}\n");
    }
    if kept > 0 {
        pr_notice!("the hypervisor keeps {kept} of {given} pages\n");
    }
}
