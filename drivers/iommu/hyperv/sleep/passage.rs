// SPDX-License-Identifier: GPL-2.0

//! A guest whose host had no IOMMU, and which wakes up on a host that offers one.
//!
//! The kernel that loaded the image has used the IOMMU, and has left the devices blocked. This file
//! attaches them to an identity domain, so that their DMA works as before. A guest that was told to
//! leave the IOMMU alone does nothing here.

use super::again::{
    configure,
    Different, //
};
use crate::host::{
    calls::{
        self,
        DeviceIommu, //
    },
    domain_ids::DomainId,
    layouts::{
        AttachDeviceDomain,
        CreateDeviceDomain, //
    },
    message::{
        say,
        Level,
        Word, //
    },
    readings::{
        self,
        NumberAnswer, //
    },
    translation::Translation, //
};
use kernel::{
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId, //
    },
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        Atomic,
        AtomicFlag, //
    },
};

/// Whether this kernel looked for an IOMMU at boot, and found none.
static LOOKED_IN_VAIN: AtomicFlag = AtomicFlag::new(false);

/// How many identity domains were made or tried for devices that were there before the host had an
/// IOMMU. The last one is in use. Each resume makes a new one: the guest may wake up on the former
/// host, which still has the last one, or on another host, which does not. None is deleted.
static PASSAGES: Atomic<u32> = Atomic::new(0);

/// Whether the hypervisor says that the device is behind an IOMMU.
///
/// Context: any.
pub(super) fn is_behind_iommu(id: LogicalDeviceId) -> bool {
    matches!(calls::get_device_iommu(id), Ok(DeviceIommu::Enabled))
}

/// Lets a device through that the kernel before this one has left blocked.
///
/// Context: may sleep. The device's bus works again, and its driver does not use it yet.
///
/// # Errors
///
/// [`EIO`]: the device may be blocked, and cannot be let through.
pub(super) fn let_through(id: LogicalDeviceId) -> Result {
    let Some(passage) = DomainId::of_passage(PASSAGES.load(Relaxed)) else {
        return Ok(());
    };
    if !is_behind_iommu(id) {
        return Ok(());
    }
    let result = match calls::attach(passage, id) {
        // Perhaps not in this one: it is taken out of wherever it is.
        Err(failure) if readings::is_attached_already(failure) => {
            calls::detach(id).and_then(|()| calls::attach(passage, id))
        }
        result => result,
    };
    match result {
        Err(failure) => {
            let words = [
                Word::Text(&AttachDeviceDomain::NAME),
                Word::Device(id),
                Word::Domain(passage),
                Word::Failure(failure),
            ];
            say(Level::Err, None, "% of % to domain %: %", &words);
            Err(EIO)
        }
        Ok(()) => Ok(()),
    }
}

/// Notes that this kernel looked for an IOMMU, and found none.
pub(crate) fn looked_in_vain() {
    LOOKED_IN_VAIN.store(true, Relaxed);
}

/// Makes an identity domain, if the host offers an IOMMU now.
///
/// Context: syscore resume: one CPU, interrupts off.
pub(super) fn make() {
    if !LOOKED_IN_VAIN.load(Relaxed)
        || !calls::get_capabilities().is_ok_and(|it| it.judge().is_ok())
    {
        return;
    }
    let is_news = PASSAGES.load(Relaxed) == 0;
    for _ in 0..readings::TAKEN_AT_RESUME_MAX {
        let number = PASSAGES.load(Relaxed).wrapping_add(1);
        let Some(id) = DomainId::of_passage(number) else {
            return;
        };
        PASSAGES.store(number, Relaxed);
        let made = match calls::create(id) {
            Err(failure) if readings::number_answer(failure) == NumberAnswer::Taken => continue,
            Err(failure) => Err(Different::Domain(id, CreateDeviceDomain::NAME, failure)),
            Ok(()) => configure(id, Translation::Identity),
        };
        match made {
            Ok(()) if is_news => {
                let text = "the host offers an IOMMU now; it is used after the next boot";
                say(Level::Info, None, text, &[]);
            }
            Ok(()) => {}
            Err(difference) => difference.report(),
        }
        return;
    }
}
