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
//! A guest that had no IOMMU may wake up on a host that offers one. The kernel that has loaded the
//! image has used it then, and has left the devices blocked. They are let through, as they were.

use super::{
    calls::{
        self,
        DeviceIommu, //
    },
    capabilities::Capabilities,
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
        device_domain::{
            AttachDeviceDomain,
            ConfigureDeviceDomain,
            CreateDeviceDomain,
            DeleteDeviceDomain,
            DetachDeviceDomain, //
        },
        hypercall::Call,
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    prelude::*,
    sync::SetOnce, //
};

/// The identity domain of a guest that had no IOMMU when it hibernated. Never deleted.
static PASSAGE: SetOnce<DomainId> = SetOnce::new();

/// Leaves the hypervisor without domains, and the devices blocked.
///
/// Context: syscore suspend: one CPU, interrupts off. The devices are suspended, and their buses closed.
///
/// # Errors
///
/// [`EBUSY`]: a device could not be blocked, or a domain not be deleted, with a message. The domains are
/// as before; [`wake_device`] puts the devices back.
fn suspend(instance: &Instance) -> Result {
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
    })?;
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
fn each_domain(instance: &Instance, mut f: impl FnMut(DomainId, Translation)) -> Result {
    for (id, translation) in instance.static_domains() {
        if let Some(id) = id {
            f(id, translation);
        }
    }
    instance
        .domains()
        .each_at_rest(|id, table| f(id, table.into()))
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
    calls::configure(id, translation)
        .map_err(|failure| Different::Domain(id, ConfigureDeviceDomain::NAME, failure))
}

/// Puts a device back to where it was.
///
/// Context: may sleep; the device's bus is there again, its driver does not use it yet.
///
/// # Errors
///
/// [`EIO`]: it could be neither put back nor blocked. It must not be used.
fn wake_device(instance: &Instance, id: LogicalDeviceId) -> Result {
    let mut result = Ok(());
    instance.each(|endpoint| {
        if endpoint.id() == id {
            result = endpoint.wake(instance);
        }
    });
    result
}

/// The same in a guest that had no IOMMU.
///
/// # Errors
///
/// [`EIO`]: the device may be blocked, and cannot be let through.
fn let_through(id: LogicalDeviceId) -> Result {
    let Some(passage) = PASSAGE.copy() else {
        return Ok(());
    };
    if !matches!(calls::get_device_iommu(id), Ok(DeviceIommu::Enabled)) {
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

/// Makes a way through the IOMMU of a host that offers one now, if it does.
fn make_passage() {
    if PASSAGE.as_ref().is_some() || !calls::get_capabilities().is_ok_and(|it| it.judge().is_ok()) {
        return;
    }
    let id = DomainId::of_passage();
    match make_again(id, Translation::Identity) {
        Ok(()) => {
            PASSAGE.populate(id);
            pr_info!("the host offers an IOMMU now; it is used after the next boot\n");
        }
        Err(difference) => difference.report(),
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
