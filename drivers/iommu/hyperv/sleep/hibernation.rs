// SPDX-License-Identifier: GPL-2.0

//! Hibernation: giving back what the hypervisor keeps for the guest, and making it again.
//!
//! What a host keeps for a guest that hibernates is documented nowhere, and the guest may wake up
//! on another host. So the hypervisor is left with nothing to keep. Before the image is made, and
//! before the kernel that has loaded an image leaves memory to it, every device is blocked, and
//! every domain deleted. Afterwards the domains are made again, with the numbers and the tables
//! that they had, and each device is put back when pci-hyperv has brought it back, before its
//! driver goes on.
//!
//! When one of the domains cannot be made as it was, no device gets out of the blocking domain
//! again.
//!
//! What is done in a guest whose host had no IOMMU stands in `passage.rs`.

use super::{
    again::{
        make_again,
        Different, //
    },
    passage, //
};
use crate::{
    device::protocol::Devices,
    host::{
        calls,
        capabilities::Capabilities,
        domain_ids::DomainId,
        layouts::{
            DeleteDeviceDomain,
            DetachDeviceDomain, //
        },
        message::{
            say,
            Level,
            Word, //
        },
        translation::Translation, //
    },
    instance::Instance,
    known::domains::flush_and_delete, //
};
use kernel::{
    error::from_result,
    ffi::c_int,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId, //
    },
    prelude::*, //
};

/// Leaves the hypervisor without domains, and the devices blocked.
///
/// Context: syscore suspend: one CPU, interrupts off. The devices are suspended, and their buses
/// closed.
///
/// # Errors
///
/// [`EBUSY`]: a device could not be blocked, or a domain not be deleted, with a message. The
/// domains are as before; [`wake_device`] puts the devices back.
fn suspend(instance: &Instance) -> Result {
    if instance.domains().is_closed() {
        // Nothing may be opened that the last resume has left closed.
        let text = "no hibernation: the devices are blocked since the last one";
        say(Level::Err, None, text, &[]);
        return Err(EBUSY);
    }
    instance.domains().close();
    let mut stays = None;
    instance.devices().each(|endpoint| {
        if let Err(failure) = endpoint.put_to_sleep() {
            stays = Some((endpoint.id(), failure));
        }
    });
    if let Some((id, failure)) = stays {
        let words = [
            Word::Text(&DetachDeviceDomain::NAME),
            Word::Device(id),
            Word::Failure(failure),
        ];
        say(Level::Err, None, "no hibernation: % of %: %", &words);
        instance.domains().open();
        return Err(EBUSY);
    }
    delete_all(instance).inspect_err(|_| instance.domains().open())
}

/// Deletes all domains, or none.
fn delete_all(instance: &Instance) -> Result {
    let (mut deleted, mut stays) = (0usize, None);
    each_domain(instance, &mut |id: DomainId, _: Translation| {
        if stays.is_some() {
            return;
        }
        match flush_and_delete(id) {
            Ok(()) => deleted = deleted.saturating_add(1),
            Err(failure) => stays = Some((id, failure)),
        }
    })
    .inspect_err(|_| {
        let text = "no hibernation: domains are being changed";
        say(Level::Err, None, text, &[]);
    })?;
    let Some((id, failure)) = stays else {
        return Ok(());
    };
    let words = [
        Word::Text(&DeleteDeviceDomain::NAME),
        Word::Domain(id),
        Word::Failure(failure),
    ];
    say(Level::Err, None, "no hibernation: % of domain %: %", &words);
    // In the same order.
    let mut lost = None;
    each_domain(instance, &mut |id: DomainId, translation: Translation| {
        if deleted != 0 {
            deleted = deleted.saturating_sub(1);
            lost = make_again(id, translation).err().or(lost.take());
        }
    })?;
    if let Some(difference) = lost {
        // Attaching to it fails, and flushing it: its devices are blocked.
        difference.report();
    }
    Err(EBUSY)
}

/// Makes the domains again, and opens them. The blocking domain is made even if the others cannot
/// be.
///
/// Context: syscore resume: one CPU, interrupts off.
fn resume(instance: &Instance) {
    let [(blocking, translation), _] = instance.domains().statics();
    let blocking = blocking.map_or(Ok(()), |id| make_again(id, translation));
    let mut result = blocking.and_then(|()| check_host(instance.offer().capabilities()));
    let all = each_domain(instance, &mut |id: DomainId, translation: Translation| {
        if result.is_ok() && translation != Translation::Blocking {
            result = make_again(id, translation);
        }
    });
    match all.map_err(|_| Different::Busy).and(result) {
        Ok(()) => instance.domains().open(),
        Err(difference) => difference.report(),
    }
}

/// Whether the host's IOMMU can go on where the former one stopped.
fn check_host(former: &Capabilities) -> Result<(), Different> {
    let report = calls::get_capabilities().map_err(|_| Different::Host)?;
    match report.judge() {
        Ok(capabilities) if capabilities.replaces(former) => Ok(()),
        _ => Err(Different::Host),
    }
}

/// Calls `f` for each domain that is to be there after a resume: the static ones, and the paging
/// ones that the kernel still uses.
///
/// # Errors
///
/// [`EBUSY`]: somebody was stopped while changing them. `f` was not called.
#[inline(never)]
fn each_domain(instance: &Instance, f: &mut dyn OfDomain) -> Result {
    let paging = instance.list().at_rest()?;
    for (id, translation) in instance.domains().statics() {
        if let Some(id) = id {
            f.call(id, translation);
        }
    }
    paging.each(|id, table| f.call(id, table.into()));
    Ok(())
}

/// What is done with each domain: a closure. The vtable of this trait makes one copy of its code,
/// that of [`FnMut`] would make two.
trait OfDomain {
    fn call(&mut self, id: DomainId, translation: Translation);
}

impl<F: FnMut(DomainId, Translation)> OfDomain for F {
    fn call(&mut self, id: DomainId, translation: Translation) {
        self(id, translation);
    }
}

/// Puts a device back to where it was.
///
/// Context: may sleep; the device's bus is there again, its driver does not use it yet.
///
/// # Errors
///
/// [`EIO`]: it could be neither put back nor blocked. It must not be used.
fn wake_device(instance: &Instance, id: LogicalDeviceId) -> Result {
    let mut result = None;
    instance.devices().each(|endpoint| {
        if endpoint.id() == id {
            result = Some(endpoint.wake(instance));
        }
    });
    result.unwrap_or_else(|| {
        // The IOMMU core knows nothing of the device, whose driver does untranslated DMA.
        if !passage::is_behind_iommu(id) {
            return Ok(());
        }
        let text = "% is behind the IOMMU since the guest woke up; it stays blocked";
        say(Level::Err, None, text, &[Word::Device(id)]);
        Err(EIO)
    })
}

/// Before an image is made, and before one replaces this kernel.
///
/// Context: syscore suspend, as long as hypercalls still work.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub(crate) unsafe extern "C" fn hv_pviommu_suspend() -> c_int {
    from_result(|| match Instance::get() {
        Ok(instance) => suspend(instance).map(|()| 0),
        Err(_) => Ok(0),
    })
}

/// After an image was made, and when one has become this kernel.
///
/// Context: syscore resume, as soon as hypercalls work again.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub(crate) unsafe extern "C" fn hv_pviommu_resume() {
    match Instance::get() {
        Ok(instance) => resume(instance),
        Err(_) => passage::make(),
    }
}

/// The device `devfn` of a bus that is there again.
///
/// Context: may sleep.
///
/// # Safety
///
/// None beyond the C prototype's.
#[allow(unsafe_code)]
#[export]
pub(crate) unsafe extern "C" fn hv_pviommu_resume_device(prefix: u32, devfn: u32) -> c_int {
    let id = LogicalDeviceId::new(prefix, devfn);
    from_result(|| {
        match Instance::get() {
            Ok(instance) => wake_device(instance, id)?,
            Err(_) => passage::let_through(id)?,
        }
        Ok(0)
    })
}
