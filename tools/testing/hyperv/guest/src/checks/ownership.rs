// SPDX-License-Identifier: GPL-2.0
//! Who may do DMA in a group: one owner at a time, the kernel's drivers or one program.

use std::fs::write;
use std::path::Path;

use anyhow::{bail, Context as _, Result};
use linkme::distributed_slice;
use nix::errno::Errno;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::disk;
use crate::iommufd::{Cdev, Iommufd, Space};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session, UnsafeInterrupts};
use crate::type1::{Container, Group};
use crate::vfio::errno;
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// Turns the answer to something forbidden into success.
fn refused<T>(answer: Result<T>, expected: Errno, what: &str) -> Result<()> {
    match answer {
        Ok(_) => bail!("{what}: allowed, {expected} was expected"),
        Err(error) if errno(&error) == Some(expected) => Ok(()),
        Err(error) => Err(error.context(format!("{what}: {expected} was expected"))),
    }
}

fn allow_everywhere() -> Result<()> {
    BackEnd::ALL.into_iter().try_for_each(|back_end| back_end.set_unsafe_interrupts(UnsafeInterrupts::Allowed))
}

/// A device is open by one of the two interfaces at a time, whichever came first.
fn interfaces_exclude(_: &mut Context<'_>) -> Result<Outcome> {
    allow_everywhere()?;
    let function = pci::find(pci::EDU)?;
    function.bind("vfio-pci")?;
    let iommufd = Iommufd::open()?;
    let cdev = Cdev::open(&function)?;

    let group = Group::open(&function)?;
    refused(cdev.bind(&iommufd).map_err(Into::into), Errno::EBUSY, "binding the device while its group is open")?;
    drop(group);

    cdev.bind(&iommufd).context("binding the device after its group was closed")?;
    refused(Group::open(&function), Errno::EBUSY, "opening the group while the device is bound")?;
    drop(cdev);
    drop(iommufd);
    Group::open(&function).context("opening the group after the device was closed")?;
    Ok(Outcome::Pass("EBUSY both ways".to_owned()))
}

pub const INTERFACES_EXCLUDE: Check = Check::new("group-and-cdev-exclude-each-other", interfaces_exclude);

/// A second user of a device is turned away, and the first one does not notice.
fn one_user(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "before the second user came")?;
    let (cdev, space) = witness.iommufd()?;
    refused(cdev.bind(&space.iommufd).map_err(Into::into), Errno::EINVAL, "binding the same file again")?;
    for iommufd in [&space.iommufd, &Iommufd::open()?] {
        let second = Cdev::open(&witness.function)?;
        refused(second.bind(iommufd).map_err(Into::into), Errno::EINVAL, "binding the device a second time")?;
    }
    witness.round_trip(at(0), 0, OTHER, "after the second user was refused")?;
    witness.faults.expect_none()?;
    drop(witness);

    let function = pci::find(pci::EDU)?;
    let first = Group::open(&function)?;
    refused(Group::open(&function), Errno::EBUSY, "opening the group a second time")?;
    drop(first);
    Ok(Outcome::Pass("EINVAL for a second bind, EBUSY for a second group file".to_owned()))
}

pub const ONE_USER: Check = Check::new("second-user-refused", one_user);

/// edu and an NVMe controller that share a group, as functions of one device without access control do.
struct SharedGroup {
    edu: PciFunction,
    nvme: PciFunction,
}

impl SharedGroup {
    fn find(context: &Context<'_>) -> Result<SharedGroup> {
        let edu = pci::find(pci::EDU)?;
        let group = edu.group().context("edu has no IOMMU group")?;
        match context.nvme()?.into_iter().find(|nvme| nvme.group() == Some(group)) {
            Some(nvme) => Ok(SharedGroup { edu, nvme }),
            None => bail!("no NVMe controller is in edu's group {group}"),
        }
    }

    /// Gives the controller to its kernel driver.
    fn bind_nvme(&self) -> std::io::Result<()> {
        write(Path::new("/sys/bus/pci/drivers/nvme/bind"), &self.nvme.address)
    }

    /// The controller's kernel driver does I/O.
    fn verify(&self) -> Result<u64> {
        // The namespace shows up a while after the driver was bound.
        pci::wait_for_devices(2)?;
        disk::verify(&self.nvme.nvme_namespace()?)
    }
}

/// As long as a kernel driver has one device of a group, no program gets another one.
fn kernel_driver_first(context: &mut Context<'_>) -> Result<Outcome> {
    allow_everywhere()?;
    let shared = SharedGroup::find(context)?;
    shared.edu.bind("vfio-pci")?;
    let group = Group::open(&shared.edu)?;
    if group.is_viable()? {
        bail!("the group is called viable while the kernel drives the NVMe controller in it");
    }
    let container = Container::open()?;
    refused(group.join(&container).map_err(Into::into), Errno::EPERM, "taking the group by its container")?;
    drop(group);
    let cdev = Cdev::open(&shared.edu)?;
    refused(cdev.bind(&Iommufd::open()?).map_err(Into::into), Errno::EPERM, "taking the device by iommufd")?;
    let compared = shared.verify()?;
    Ok(Outcome::Pass(format!("EPERM by both interfaces; NVMe: {} KiB compared", compared >> 10)))
}

const KERNEL_FIRST: Check = Check::new("kernel-driver-in-group-refuses-user", kernel_driver_first);

/// As long as a program has one device of a group, no kernel driver gets another one; afterwards it does.
fn user_space_first(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let shared = SharedGroup::find(context)?;
    shared.nvme.unbind()?;
    let mut witness = Witness::open_by(context, back_end, 1)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    refused(
        shared.bind_nvme().map_err(Into::into),
        Errno::EBUSY,
        "binding the kernel's driver to the NVMe controller",
    )?;
    if let Some(driver) = shared.nvme.driver() {
        bail!("{} was refused, but drives the NVMe controller", driver);
    }
    witness.round_trip(at(0), 0, FROM_DEVICE, "after the kernel's driver was refused")?;
    witness.faults.expect_none()?;
    drop(witness);
    shared.bind_nvme().context("binding the kernel's driver to the NVMe controller after the program ended")?;
    let compared = shared.verify()?;
    Ok(Outcome::Pass(format!("EBUSY, then bound; NVMe: {} KiB compared", compared >> 10)))
}

const TYPE1_FIRST: Check =
    Check::new("vfio-user-in-group-refuses-kernel-driver", |c| user_space_first(c, BackEnd::Type1));
const CDEV_FIRST: Check =
    Check::new("cdev-user-in-group-refuses-kernel-driver", |c| user_space_first(c, BackEnd::Iommufd));

/// Devices of one group are in one address space: neither another context nor another space takes the second one.
fn one_space_per_group(context: &mut Context<'_>) -> Result<Outcome> {
    allow_everywhere()?;
    let shared = SharedGroup::find(context)?;
    shared.nvme.bind("vfio-pci")?;
    let witness = Witness::open_by(context, BackEnd::Iommufd, 1)?;
    let (_, space) = witness.iommufd()?;
    let nvme = Cdev::open(&shared.nvme)?;
    refused(nvme.bind(&Space::new()?.iommufd).map_err(Into::into), Errno::EPERM, "binding to another context")?;
    nvme.bind(&space.iommufd).context("binding to the same context")?;
    let other = space.iommufd.allocate_ioas().context("a second IOAS")?;
    refused(nvme.attach(other).map_err(Into::into), Errno::EINVAL, "attaching to another address space")?;
    nvme.attach(space.ioas).context("attaching to the same address space")?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "with both devices in the space")?;
    drop(nvme);
    witness.round_trip(at(0), 0, OTHER, "after the second device left the space")?;
    drop(witness);

    // By container, the group comes as a whole.
    let session = Session::open_by(&shared.edu, BackEnd::Type1)?;
    session.type1()?.take(&shared.nvme).context("opening the group's second device")?;
    drop(session);
    shared.nvme.unbind()?;
    shared.bind_nvme().context("giving the NVMe controller back")?;
    shared.verify()?;
    Ok(Outcome::Pass("EPERM for another context, EINVAL for another space".to_owned()))
}

const ONE_SPACE: Check = Check::new("group-has-one-address-space", one_space_per_group);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "shared-group",
    summary: "edu and NVMe in one group: it has one owner and one address space",
    checks: &[DEVICES, GROUPS, NVME_QUICK, NO_FAULTS, KERNEL_FIRST, TYPE1_FIRST, CDEV_FIRST, ONE_SPACE, VIOLATIONS],
}];
