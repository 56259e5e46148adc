// SPDX-License-Identifier: GPL-2.0

//! Hibernation: giving back what the hypervisor keeps for the guest, and making it again.
//!
//! What a host keeps for a guest that hibernates is documented nowhere, and the guest may wake up on
//! another host. So the hypervisor is left with nothing to keep. Before the image is made, and before
//! the kernel that has loaded an image leaves memory to it, every device is blocked, and every domain
//! deleted. Afterwards the domains are made again, with the numbers and the tables that they had, and
//! each device is put back when pci-hyperv has brought it back, before its driver goes on.
//!
//! When one of the domains cannot be made as it was, no device gets out of the blocking domain again.
//!
//! A guest whose host had no IOMMU may wake up on a host that offers one. The kernel that has loaded
//! the image has used it then, and has left the devices blocked. They are let through, as they were. A
//! guest that was told to leave the IOMMU alone does so.

use super::{
    calls::{
        self,
        DeviceIommu, //
    },
    capabilities::Capabilities,
    device_domain::{
        AttachDeviceDomain,
        ConfigureDeviceDomain,
        CreateDeviceDomain,
        DeleteDeviceDomain,
        DetachDeviceDomain, //
    },
    domain_ids::DomainId,
    instance::{
        flush_and_delete,
        Instance, //
    },
    protocol::Devices,
    readings::{
        self,
        NumberAnswer, //
    },
    translation::Translation, //
};
use kernel::{
    error::from_result,
    ffi::c_int,
    hyperv::{
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
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
/// number of such domains that were made or tried. A host that is the same as before may still have the
/// last one, another has none: each resume makes a new one, and none is deleted.
static PASSAGES: Atomic<u32> = Atomic::new(0);
/// How many numbers may turn out to be taken at a resume.
const MAX_TAKEN: usize = 8;

/// Leaves the hypervisor without domains, and the devices blocked.
///
/// Context: syscore suspend: one CPU, interrupts off. The devices are suspended, and their buses closed.
///
/// # Errors
///
/// [`EBUSY`]: a device could not be blocked, or a domain not be deleted, with a message. The domains are
/// as before; [`wake_device`] puts the devices back.
fn suspend(instance: &Instance) -> Result {
    if instance.is_shut_down() {
        // Nothing may be opened that the last resume has left closed.
        pr_err!("no hibernation: the devices are blocked since the last one\n");
        return Err(EBUSY);
    }
    instance.close();
    let mut stays = None;
    instance.each(|endpoint| {
        if let Err(failure) = endpoint.put_to_sleep() {
            stays = Some((endpoint.id(), failure));
        }
    });
    if let Some((id, failure)) = stays {
        pr_err!(
            "no hibernation: {} of {id}: {failure}\n",
            DetachDeviceDomain::NAME
        );
        instance.open();
        return Err(EBUSY);
    }
    delete_all(instance).inspect_err(|_| instance.open())
}

/// Deletes all domains, or none.
fn delete_all(instance: &Instance) -> Result {
    let (mut deleted, mut stays) = (0usize, None);
    each_domain(instance, |id, _| {
        if stays.is_some() {
            return;
        }
        match flush_and_delete(id) {
            Ok(()) => deleted = deleted.saturating_add(1),
            Err(failure) => stays = Some((id, failure)),
        }
    })
    .inspect_err(|_| pr_err!("no hibernation: domains are being changed\n"))?;
    let Some((id, failure)) = stays else {
        return Ok(());
    };
    pr_err!(
        "no hibernation: {} of domain {id}: {failure}\n",
        DeleteDeviceDomain::NAME
    );
    // In the same order.
    let mut lost = None;
    each_domain(instance, |id, translation| {
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

/// Makes the domains again, and opens them. The blocking domain is made even if the others cannot be.
///
/// Context: syscore resume: one CPU, interrupts off.
fn resume(instance: &Instance) {
    let [(blocking, translation), _] = instance.static_domains();
    let blocking = blocking.map_or(Ok(()), |id| make_again(id, translation));
    let mut result = blocking.and_then(|()| check_host(instance.capabilities()));
    let all = each_domain(instance, |id, translation| {
        if result.is_ok() && translation != Translation::Blocking {
            result = make_again(id, translation);
        }
    });
    match all.map_err(|_| Different::Busy).and(result) {
        Ok(()) => instance.open(),
        Err(difference) => difference.report(),
    }
}

/// What is not as it was.
enum Different {
    /// The IOMMU.
    Host,
    /// A domain, by a call that failed.
    Domain(DomainId, &'static str, HypercallError),
    /// Another kernel's domain has the number, and stays.
    Taken(DomainId),
    /// Somebody was stopped in the middle of a change.
    Busy,
}

impl Different {
    fn report(self) {
        const END: &str = "; the devices stay blocked";
        match self {
            Different::Host => pr_err!("the host's IOMMU is not what it was{END}\n"),
            Different::Domain(id, call, failure) => {
                pr_err!("{call} of domain {id}: {failure}{END}\n");
            }
            Different::Taken(id) => pr_err!("domain {id} is somebody else's{END}\n"),
            Different::Busy => pr_err!("domains were being changed{END}\n"),
        }
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

/// Calls `f` for each domain that is to be there after a resume: the static ones, and the paging ones
/// that the kernel still uses.
///
/// # Errors
///
/// [`EBUSY`]: somebody was stopped while changing them. `f` was not called.
fn each_domain(instance: &Instance, mut f: impl FnMut(DomainId, Translation)) -> Result {
    let paging = instance.domains().at_rest()?;
    for (id, translation) in instance.static_domains() {
        if let Some(id) = id {
            f(id, translation);
        }
    }
    paging.each(|id, table| f(id, table.into()));
    Ok(())
}

/// Makes a domain of a given number. One of another kernel that has the number is deleted; no device of
/// this guest is in it, as all are blocked.
fn make_again(id: DomainId, translation: Translation) -> Result<(), Different> {
    let result = match calls::create(id) {
        Err(failure) if readings::number_answer(failure) == NumberAnswer::Taken => {
            flush_and_delete(id).map_err(|_| Different::Taken(id))?;
            calls::create(id)
        }
        result => result,
    };
    result.map_err(|failure| Different::Domain(id, CreateDeviceDomain::NAME, failure))?;
    configure(id, translation)
}

/// Configures a domain that was just created, or else deletes it.
fn configure(id: DomainId, translation: Translation) -> Result<(), Different> {
    calls::configure(id, translation).map_err(|failure| {
        // What the hypervisor does with a domain that is not configured is not documented.
        let _ = calls::delete(id);
        Different::Domain(id, ConfigureDeviceDomain::NAME, failure)
    })
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
    instance.each(|endpoint| {
        if endpoint.id() == id {
            result = Some(endpoint.wake(instance));
        }
    });
    result.unwrap_or_else(|| {
        // The IOMMU core knows nothing of the device, whose driver does untranslated DMA.
        if !is_behind_iommu(id) {
            return Ok(());
        }
        pr_err!("{id} is behind the IOMMU since the guest woke up; it stays blocked\n");
        Err(EIO)
    })
}

fn is_behind_iommu(id: LogicalDeviceId) -> bool {
    matches!(calls::get_device_iommu(id), Ok(DeviceIommu::Enabled))
}

/// The same in a guest whose host had no IOMMU.
///
/// # Errors
///
/// [`EIO`]: the device may be blocked, and cannot be let through.
fn let_through(id: LogicalDeviceId) -> Result {
    let Some(passage) = DomainId::of_passage(PASSAGES.load(Relaxed)) else {
        return Ok(());
    };
    if !is_behind_iommu(id) {
        return Ok(());
    }
    match calls::attach(passage, id) {
        Err(failure) if !readings::is_attached_already(failure) => {
            pr_err!(
                "{} of {id} to domain {passage}: {failure}\n",
                AttachDeviceDomain::NAME
            );
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
fn make_passage() {
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
                pr_info!("the host offers an IOMMU now; it is used after the next boot\n");
            }
            Ok(()) => {}
            Err(difference) => difference.report(),
        }
        return;
    }
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
        Err(_) => make_passage(),
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
            Err(_) => let_through(id)?,
        }
        Ok(0)
    })
}
