// SPDX-License-Identifier: GPL-2.0

//! A guest whose host had no IOMMU, and that wakes up on a host that offers one.
//!
//! The kernel that has loaded the image has used the IOMMU then, and has left the devices blocked.
//! They are let through, as they were. A guest that was told to leave the IOMMU alone does so.

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

/// This kernel looked for an IOMMU, and its host had none.
static LOOKED_IN_VAIN: AtomicFlag = AtomicFlag::new(false);

/// The identity domain through which devices go that were there before the host had an IOMMU: the
/// number of such domains that were made or tried. A host that is the same as before may still have
/// the last one, another has none: each resume makes a new one, and none is deleted.
static PASSAGES: Atomic<u32> = Atomic::new(0);
/// How many numbers may turn out to be taken at a resume.
const MAX_TAKEN: usize = 8;

/// Whether the host has the device behind an IOMMU.
///
/// Context: any.
pub(super) fn is_behind_iommu(id: LogicalDeviceId) -> bool {
    matches!(calls::get_device_iommu(id), Ok(DeviceIommu::Enabled))
}

/// Lets a device through that the kernel before this one has left blocked.
///
/// Context: may sleep; the device's bus is there again, its driver does not use it yet.
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
    match calls::attach(passage, id) {
        Err(failure) if !readings::is_attached_already(failure) => {
            let words = [
                Word::Text(&AttachDeviceDomain::NAME),
                Word::Device(id),
                Word::Domain(passage),
                Word::Failure(failure),
            ];
            say(Level::Err, None, "% of % to domain %: %", &words);
            Err(EIO)
        }
        _ => Ok(()),
    }
}

/// This kernel looks for an IOMMU, and there is none.
pub(crate) fn looked_in_vain() {
    LOOKED_IN_VAIN.store(true, Relaxed);
}

/// Makes a way through the IOMMU of a host that offers one now, if it does.
///
/// Context: syscore resume: one CPU, interrupts off.
pub(super) fn make() {
    if !LOOKED_IN_VAIN.load(Relaxed)
        || !calls::get_capabilities().is_ok_and(|it| it.judge().is_ok())
    {
        return;
    }
    let is_news = PASSAGES.load(Relaxed) == 0;
    for _ in 0..MAX_TAKEN {
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
