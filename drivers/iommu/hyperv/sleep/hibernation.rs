// SPDX-License-Identifier: GPL-2.0

//! Hibernation: has the hypervisor forget all domains, and makes them again.
//!
//! No document says what a host keeps for a guest that hibernates, and the guest may wake up on
//! another host. So the driver leaves nothing that the host would have to keep. Before an image is
//! made, it blocks every device and deletes every domain. So does the driver of the kernel that
//! loads the image, before that kernel hands over. Afterwards the driver makes the domains again,
//! with the numbers and the tables that they had. It puts each device back when pci-hyperv has
//! brought the device back, before the device's driver goes on.
//!
//! If a domain cannot be made as it was, all devices stay blocked.
//!
//! `passage.rs` does what a guest needs whose host had no IOMMU.

use super::{
    again::{
        make_again,
        Different, //
    },
    endpoint::Stays,
    passage, //
};
use crate::{
    device::{
        block::{
            block,
            Before, //
        },
        endpoint::Endpoint,
        let_go::Left,
        protocol::Devices, //
    },
    host::{
        calls,
        capabilities::Capabilities,
        domain_ids::DomainId,
        layouts::DeleteDeviceDomain,
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

/// Detaches all devices, and deletes all domains.
///
/// Context: syscore suspend: one CPU, interrupts off. The devices are suspended, and their buses
/// are closed.
///
/// # Errors
///
/// [`EBUSY`]: a device could not be detached, or a domain could not be deleted, with a message. The
/// domains are as before; [`wake_device`] puts the devices back.
fn suspend(instance: &Instance) -> Result {
    if instance.domains().is_closed() {
        // The last resume has left the domains closed, and nothing may open them.
        let text = "no hibernation: the devices are blocked since the last one";
        say(Level::Err, None, text, &[]);
        return Err(EBUSY);
    }
    instance.domains().close();
    let detached = detach_all(instance).map_err(Stays::report);
    detached
        .and_then(|()| delete_all(instance))
        .inspect_err(|_| {
            // `wake_device` puts the other devices back.
            block_let_go(instance);
            instance.domains().open();
        })
}

/// Detaches all devices, also those that the kernel has let go of.
fn detach_all(instance: &Instance) -> Result<(), Stays> {
    let devices = instance.devices();
    let detached = devices.each_at_rest(Endpoint::put_to_sleep);
    detached.map_err(|_| Stays::Busy)??;
    let mut let_go = devices.let_go().at_rest().map_err(|_| Stays::Busy)?;
    let_go
        .detach()
        .map_err(|(id, failure)| Stays::Refused(id, failure))
}

/// Deletes all domains. If one cannot be deleted, makes those that were deleted again.
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
    // The domains come in the same order as before, so the first ones are those that were deleted.
    each_domain(instance, &mut |id: DomainId, translation: Translation| {
        if deleted != 0 {
            deleted = deleted.saturating_sub(1);
            if restore(instance, id, translation).is_err() {
                // Attaching to this domain will fail, and so will flushing it; then its devices
                // are blocked.
                let text = "domain % is lost; its devices will be blocked";
                say(Level::Err, None, text, &[Word::Domain(id)]);
            }
        }
    })?;
    Err(EBUSY)
}

/// Makes a domain again. If that fails, the hypervisor may know another domain by the number, which
/// is nothing to block devices by.
fn restore(instance: &Instance, id: DomainId, translation: Translation) -> Result<(), Different> {
    make_again(id, translation).inspect_err(|_| {
        if translation == Translation::Blocking {
            instance.domains().lose_blocking();
        }
    })
}

/// Blocks the devices again that the kernel has let go of.
fn block_let_go(instance: &Instance) {
    if let Ok(mut let_go) = instance.devices().let_go().at_rest() {
        let_go.block(instance.domains().blocking());
    }
}

/// Makes the domains again, and opens them. Makes the blocking domain even if the others cannot be
/// made.
///
/// Context: syscore resume: one CPU, interrupts off.
fn resume(instance: &Instance) {
    let [(blocking, translation), _] = instance.domains().statics();
    let blocking = blocking.map_or(Ok(()), |id| restore(instance, id, translation));
    block_let_go(instance);
    let mut result = blocking.and_then(|()| check_host(instance.offer().capabilities()));
    let all = each_domain(instance, &mut |id: DomainId, translation: Translation| {
        if result.is_ok() && translation != Translation::Blocking {
            result = restore(instance, id, translation);
        }
    });
    match all.map_err(|_| Different::Busy).and(result) {
        Ok(()) => instance.domains().open(),
        Err(difference) => difference.report(),
    }
}

/// Whether the host's IOMMU can take the place of the former one.
fn check_host(former: &Capabilities) -> Result<(), Different> {
    let report = calls::get_capabilities().map_err(|_| Different::Host)?;
    match report.judge() {
        Ok(capabilities) if capabilities.replaces(former) => Ok(()),
        _ => Err(Different::Host),
    }
}

/// Calls `f` for each domain that must exist after a resume: the static ones, and the paging ones
/// that are not retired.
///
/// # Errors
///
/// [`EBUSY`]: a task was stopped while it changed the list of domains. `f` was not called.
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

/// What is done with each domain: a closure. Calls through this trait's vtable need one copy of its
/// code; calls through that of [`FnMut`] would need two.
trait OfDomain {
    fn call(&mut self, id: DomainId, translation: Translation);
}

impl<F: FnMut(DomainId, Translation)> OfDomain for F {
    fn call(&mut self, id: DomainId, translation: Translation) {
        self(id, translation);
    }
}

/// Puts a device back where it was.
///
/// Context: may sleep. The device's bus works again, and its driver does not use it yet.
///
/// # Errors
///
/// [`EIO`]: the device could be neither put back nor blocked. It must not be used.
fn wake_device(instance: &Instance, id: LogicalDeviceId) -> Result {
    let mut result = None;
    instance.devices().each(|endpoint| {
        if endpoint.id() == id {
            result = Some(endpoint.wake(instance));
        }
    });
    result.unwrap_or_else(|| block_unknown(instance, id))
}

/// Blocks a device that the IOMMU core does not know, if it is behind the IOMMU. Either the kernel
/// has let go of the device, or the device was not behind the IOMMU before, and its driver does
/// untranslated DMA.
///
/// # Errors
///
/// [`EIO`]: the device could not be blocked.
#[inline(never)]
fn block_unknown(instance: &Instance, id: LogicalDeviceId) -> Result {
    if !passage::is_behind_iommu(id) {
        return Ok(());
    }
    let let_go = instance.devices().let_go();
    let left = let_go.left(id);
    let before = match left {
        Some(Left::Blocked) => Before::Blocked,
        _ => Before::Elsewhere,
    };
    let result = block(id, instance.domains().blocking(), before);
    let text = match result {
        Ok(_) if left.is_some() => return Ok(()),
        Ok(_) => "% is behind the IOMMU since the guest woke up; it stays blocked",
        Err(_) => "% could not be blocked when the guest woke up; its bus stays closed",
    };
    say(Level::Err, None, text, &[Word::Device(id)]);
    let_go.add_blocked(id, result);
    result.map(|_| ()).map_err(|_| EIO)
}

/// Called before an image is made, and before an image replaces this kernel.
///
/// Context: syscore suspend, while hypercalls still work.
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

/// Called after an image was made, and after an image has become this kernel.
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

/// Called for the device `devfn` of a bus that works again.
///
/// Context: may sleep. Returns 0, or `-EIO` for a device that must not be used.
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
