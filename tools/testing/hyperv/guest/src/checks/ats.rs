// SPDX-License-Identifier: GPL-2.0
//! ATS: when a device may ask for translations and keep them, and that flushes reach what it keeps.
//!
//! QEMU's virtio devices have the capability but, without a vhost back end, keep nothing: no DMA of theirs can show a
//! stale entry. What can be seen are the enable bit, in configuration space and at the hypervisor, and the
//! invalidations that the hypervisor sends to the device.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::platform::DeviceTlb;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_REMAP, VFIO_STALE};
use crate::checks::virtio::VIRTIO;
use crate::hotplug;
use crate::iommufd::{AtsSupport, Cdev, Iommufd};
use crate::memory::DmaBuffer;
use crate::minihv::{Injection, Minihv};
use crate::pci::{self, write_sysfs, PciFunction, VIRTIO_VENDOR};
use crate::report::Outcome;
use crate::session::{BackEnd, Session, UnsafeInterrupts};
use crate::witness::at;

const EXTENDED_CAPABILITIES: u64 = 0x100;
const CONFIG_BYTES: u64 = 0x1000;
const CAPABILITY_ATS: u32 = 0x000f;
/// Offset of the control register in the capability.
const CONTROL: u64 = 6;
const ENABLE: u16 = 1 << 15;
/// The smallest translation that the device asks for: 4 KiB, doubled so many times.
const UNIT: u16 = 0x1f;

/// The control register of a function's ATS capability; `None` when it has none.
fn control(function: &PciFunction) -> Result<Option<u16>> {
    let config = File::open(function.file("config")).context("config")?;
    let mut at = EXTENDED_CAPABILITIES;
    // Every capability takes 4 bytes at least, which bounds the list.
    for _ in 0..CONFIG_BYTES / 4 {
        let mut header = [0; 4];
        if config.read_at(&mut header, at).context("config")? < header.len() {
            return Ok(None);
        }
        let header = u32::from_le_bytes(header);
        if header & 0xffff == CAPABILITY_ATS {
            let mut register = [0; 2];
            config.read_exact_at(&mut register, at + CONTROL).context("config")?;
            return Ok(Some(u16::from_le_bytes(register)));
        }
        at = u64::from(header >> 20);
        if at < EXTENDED_CAPABILITIES {
            return Ok(None);
        }
    }
    bail!("{}: the list of extended capabilities is a loop", function.address)
}

/// The one function with ATS.
///
/// # Errors
/// When there is none.
pub fn subject(context: &Context<'_>) -> Result<(PciFunction, Minihv)> {
    let minihv = context.minihv()?;
    for function in &context.functions {
        if function.id.vendor == VIRTIO_VENDOR && control(function)?.is_some() {
            return Ok((function.clone(), minihv));
        }
    }
    bail!("no virtio function has the ATS capability")
}

/// Compares the enable bit, as the guest and as the hypervisor see it, with what it should be.
fn expect(function: &PciFunction, minihv: Minihv, expected: DeviceTlb, when: &str) -> Result<()> {
    let register = control(function)?.with_context(|| format!("{when}: the ATS capability is gone"))?;
    let seen = if register & ENABLE != 0 { DeviceTlb::Enabled } else { DeviceTlb::Disabled };
    let below = minihv.device_tlb(function.logical_id().context("no logical id")?)?;
    if (seen, below) != (expected, expected) {
        bail!("{when}: ATS is {seen:?} for the guest and {below:?} for the hypervisor, expected {expected:?}");
    }
    if seen == DeviceTlb::Enabled && register & UNIT != 0 {
        bail!("{when}: the device asks for translations of {} KiB at least", 4_u64 << (register & UNIT));
    }
    Ok(())
}

/// A device that a kernel driver has, behind a translating domain, uses ATS.
fn on(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    expect(&function, minihv, DeviceTlb::Enabled, "with its driver")?;
    Ok(Outcome::Pass(function.address))
}

pub const ATS_ON: Check = Check::new("ats-on-behind-table", on);

/// After a crash nobody has used the device yet: it may still translate by what the crashed kernel has told it.
fn left_on(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    ensure!(function.driver().is_none(), "{} has a driver", function.address);
    let domain = minihv.device_domain(function.logical_id().context("no logical id")?)?.context("in no domain")?;
    ensure!(context.options.domains.contains(&domain), "domain {} is none of the crashed kernel's", domain.0);
    expect(&function, minihv, DeviceTlb::Enabled, "before anybody uses it")?;
    Ok(Outcome::Pass(format!("{} in domain {}", function.address, domain.0)))
}

pub const ATS_LEFT_ON: Check = Check::new("ats-stays-on-until-used", left_on);

/// The first that this kernel does with the device is to block it: ATS, which the crashed kernel has left on, is off then.
fn off_when_taken(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    function.bind("vfio-pci")?;
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let iommufd = Iommufd::open()?;
    let _cdev = Cdev::take(&function, &iommufd)?;
    expect(&function, minihv, DeviceTlb::Disabled, "blocked, taken by user space")?;
    Ok(Outcome::Pass(function.address))
}

pub const ATS_OFF_WHEN_TAKEN: Check = Check::new("ats-goes-off-when-blocked", off_when_taken);

/// In an identity domain, or on a host that does not offer ATS, it does not.
fn off(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    expect(&function, minihv, DeviceTlb::Disabled, "with its driver")?;
    Ok(Outcome::Pass(function.address))
}

const ATS_OFF: Check = Check::new("ats-off", off);

/// The kernel's own I/O makes the hypervisor invalidate what the device could keep.
fn kernel_io_flushes(context: &mut Context<'_>) -> Result<Outcome> {
    let (_, minihv) = subject(context)?;
    let before = minihv.counter(Counter::DeviceTlbFlushes, 0)?;
    super::virtio::io(context)?;
    match minihv.counter(Counter::DeviceTlbFlushes, 0)? - before {
        0 => bail!("no invalidation reached the device during its I/O"),
        count => Ok(Outcome::Pass(format!("{count} invalidations"))),
    }
}

const ATS_KERNEL_IO: Check = Check::new("ats-kernel-io-flushes-device", kernel_io_flushes);

/// Every device TLB invalidation that an unmap causes, as numbers of calls and of pages.
fn invalidations(minihv: Minihv, work: impl FnOnce() -> Result<()>) -> Result<(u64, u64)> {
    let read = || -> Result<(u64, u64)> {
        Ok((minihv.counter(Counter::DeviceTlbFlushes, 0)?, minihv.counter(Counter::DeviceTlbPages, 0)?))
    };
    let before = read()?;
    work()?;
    let after = read()?;
    Ok((after.0 - before.0, after.1 - before.1))
}

/// What is unmapped is invalidated in the device, too, exactly.
fn unmap_reaches_device(context: &mut Context<'_>) -> Result<Outcome> {
    /// Numbers of pages that take one descriptor, and several.
    const SIZES: [usize; 3] = [1, 16, 33];
    let (function, minihv) = subject(context)?;
    for back_end in BackEnd::ALL {
        let session = Session::open_by(&function, back_end)?;
        let buffer = DmaBuffer::new(SIZES[2])?;
        for pages in SIZES {
            session.map(at(64), &buffer, 0, pages)?;
            let (calls, covered) = invalidations(minihv, || session.unmap(at(64), pages))?;
            if calls == 0 || covered != pages as u64 {
                bail!("{back_end:?}: {pages} pages unmapped, {calls} device TLB invalidations for {covered} pages");
            }
        }
    }
    // Pages 65 to 69 are three blocks. They are flushed as two, of which the first has a page more.
    let session = Session::open_by(&function, BackEnd::Type1)?;
    let buffer = DmaBuffer::new(5)?;
    session.map(at(65), &buffer, 0, 5)?;
    let made = invalidations(minihv, || session.unmap(at(65), 5))?;
    if made != (2, 6) {
        bail!("5 pages unmapped, (device TLB invalidations, pages) are {made:?} instead of (2, 6)");
    }
    drop(session);
    function.unbind()?;
    function.bind("virtio-pci")?;
    Ok(Outcome::Pass(format!("{SIZES:?} pages, and 5 in two parts")))
}

const ATS_UNMAP: Check = Check::new("ats-unmap-flushes-device", unmap_reaches_device);

/// On and off as user space takes the device, moves it and lets go of it.
fn user_space(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    let expect = |expected, when| expect(&function, minihv, expected, when);
    function.bind("vfio-pci")?;
    expect(DeviceTlb::Enabled, "in the default domain, without user")?;

    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let iommufd = Iommufd::open()?;
    let (first, second) = (iommufd.allocate_ioas()?, iommufd.allocate_ioas()?);
    let cdev = Cdev::take(&function, &iommufd)?;
    expect(DeviceTlb::Disabled, "blocked, taken by user space")?;
    cdev.attach(first).context("attach")?;
    expect(DeviceTlb::Enabled, "attached")?;
    cdev.attach(second).context("moving to another address space")?;
    expect(DeviceTlb::Enabled, "moved")?;
    cdev.detach().context("detach")?;
    expect(DeviceTlb::Disabled, "blocked after a detach")?;
    cdev.attach(first).context("attach again")?;
    expect(DeviceTlb::Enabled, "attached again")?;
    drop(cdev);
    expect(DeviceTlb::Enabled, "back in the default domain")?;

    let session = Session::open_by(&function, BackEnd::Type1)?;
    expect(DeviceTlb::Enabled, "in a container")?;
    session.device().reset().context("reset")?;
    expect(DeviceTlb::Enabled, "after a reset")?;
    drop(session);
    expect(DeviceTlb::Enabled, "after the container")?;
    function.unbind()?;
    function.bind("virtio-pci")?;
    expect(DeviceTlb::Enabled, "with its driver again")?;
    Ok(Outcome::Pass("9 states by two interfaces, one reset".to_owned()))
}

const ATS_USER: Check = Check::new("ats-follows-user-space", user_space);

/// A program that asks iommufd is told whether the device can use ATS.
fn told(context: &mut Context<'_>, expected: AtsSupport) -> Result<Outcome> {
    let (function, _) = subject(context)?;
    function.bind("vfio-pci")?;
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let told = {
        let iommufd = Iommufd::open()?;
        let cdev = Cdev::take(&function, &iommufd)?;
        iommufd.ats_support(cdev.id()?).context("asking about the device")?
    };
    function.unbind()?;
    function.bind("virtio-pci")?;
    if told != expected {
        bail!("iommufd says of ATS that it is {told:?}, {expected:?} expected");
    }
    Ok(Outcome::Pass(format!("{told:?}")))
}

const ATS_TOLD: Check = Check::new("iommufd-tells-of-ats", |c| told(c, AtsSupport::Usable));
const ATS_TOLD_NOT: Check = Check::new("iommufd-tells-that-there-is-no-ats", |c| told(c, AtsSupport::NotUsable));

/// The kernel moves the device from its translating domain to the identity domain and back, with no stop in between.
fn default_domain_changes(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    function.unbind()?;
    let file = function.file("iommu_group/type");
    let before = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    write_sysfs(&file, "identity")?;
    expect(&function, minihv, DeviceTlb::Disabled, "in the identity domain")?;
    write_sysfs(&file, before.trim())?;
    expect(&function, minihv, DeviceTlb::Enabled, "in a translating domain again")?;
    function.bind("virtio-pci")?;
    Ok(Outcome::Pass(format!("{} and identity", before.trim())))
}

const ATS_TYPES: Check = Check::new("ats-follows-default-domain", default_domain_changes);

/// The hypervisor refuses the move to the identity domain: the device stays where it was, with ATS.
fn identity_is_refused(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    function.unbind()?;
    minihv.inject(Injection::next(CallCode::ATTACH_DEVICE_DOMAIN))?;
    let moved = write_sysfs(&function.file("iommu_group/type"), "identity");
    minihv.clear_injections()?;
    if moved.is_ok() {
        bail!("the group is in identity, though the hypervisor has refused that");
    }
    expect(&function, minihv, DeviceTlb::Enabled, "in the domain that it could not leave")?;
    function.bind("virtio-pci")?;
    Ok(Outcome::Pass(String::new()))
}

const ATS_REFUSED: Check = Check::new("ats-stays-on-when-identity-is-refused", identity_is_refused);

/// The host withdraws the device while it uses ATS, and offers it again.
fn comes_back(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    let bus = hotplug::withdraw(minihv, &function)?;
    hotplug::offer(minihv, bus, 1)?;
    context.functions = pci::wait_for_devices(context.options.devices)?;
    on(context)
}

const ATS_RETURN: Check = Check::new("ats-on-after-removal", comes_back);

/// In an identity system, user space's domains translate: ATS is on for as long as they last.
fn user_space_in_identity(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    for back_end in BackEnd::ALL {
        let session = Session::open_by(&function, back_end)?;
        expect(&function, minihv, DeviceTlb::Enabled, "in a domain of user space")?;
        drop(session);
        expect(&function, minihv, DeviceTlb::Disabled, "back in the identity domain")?;
    }
    function.unbind()?;
    function.bind("virtio-pci")?;
    expect(&function, minihv, DeviceTlb::Disabled, "with its driver again")?;
    Ok(Outcome::Pass(String::new()))
}

const ATS_IDENTITY_USER: Check = Check::new("ats-in-identity-system", user_space_in_identity);

/// No flush works: the device is blocked at once, without ATS; a domain that works brings both back.
fn failed_flush(context: &mut Context<'_>) -> Result<Outcome> {
    let (function, minihv) = subject(context)?;
    let session = Session::open_by(&function, BackEnd::Type1)?;
    let buffer = DmaBuffer::new(1)?;
    session.map(at(64), &buffer, 0, 1)?;
    for call in [CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN] {
        minihv.inject(Injection::every(call))?;
    }
    let unmapped = session.unmap(at(64), 1);
    minihv.clear_injections()?;
    unmapped?;
    expect(&function, minihv, DeviceTlb::Disabled, "blocked as nothing could be flushed")?;
    drop(session);
    expect(&function, minihv, DeviceTlb::Enabled, "in the default domain again")?;
    function.unbind()?;
    function.bind("virtio-pci")?;
    Ok(Outcome::Pass(String::new()))
}

const ATS_FAILED_FLUSH: Check = Check::new("ats-off-after-failed-flush", failed_flush);

/// The scenarios. The virtio check at the end shows that the device works after all that was done to it.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "ats",
        summary: "a host and a device with ATS: on behind tables, off while blocked; flushes reach the device",
        checks: &[
            DEVICES,
            GROUPS,
            ATS_ON,
            NVME_QUICK,
            ATS_KERNEL_IO,
            ATS_UNMAP,
            ATS_USER,
            ATS_TOLD,
            ATS_TYPES,
            ATS_REFUSED,
            ATS_RETURN,
            VIRTIO,
            NO_FAULTS,
            VFIO_STALE,
            VFIO_REMAP,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "ats-identity",
        summary: "the same in bypass: off but for user space's domains",
        checks: &[DEVICES, GROUPS, ATS_OFF, ATS_IDENTITY_USER, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-not-offered",
        summary: "a device with ATS on a host that does not offer it: off",
        checks: &[DEVICES, GROUPS, ATS_OFF, ATS_TOLD_NOT, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-failed-flush",
        summary: "a flush that fails while a device has ATS",
        checks: &[DEVICES, GROUPS, ATS_ON, ATS_FAILED_FLUSH, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "ats-unmap",
        summary: "only the check of device TLB invalidations (the runner's test of the tests expects it to fail)",
        checks: &[DEVICES, GROUPS, ATS_ON, ATS_UNMAP],
    },
];
