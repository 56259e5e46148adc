// SPDX-License-Identifier: GPL-2.0
//! What both interfaces of user space promise about a device and its addresses, and what only iommufd can do.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;
use nix::errno::Errno;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::bar::{CDEV_BAR_REFUSED, CDEV_DMA_BUF, TYPE1_BAR};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::large::{CDEV_LARGE, TYPE1_LARGE};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::ownership::{INTERFACES_EXCLUDE, ONE_USER};
use crate::checks::protection::{
    CDEV_MAPPED, CDEV_NEIGHBOUR, CDEV_REMAP, CDEV_STALE, CDEV_UNMAPPED, VFIO_MAPPED, VFIO_NEIGHBOUR, VFIO_REMAP,
    VFIO_STALE, VFIO_UNMAPPED,
};
use crate::iommufd::Space;
use crate::memory::{DmaBuffer, PAGE};
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session, UnsafeInterrupts};
use crate::vfio::errno;
use crate::witness::{at, base, Witness, FROM_DEVICE, OTHER};

/// Where message-signalled interrupts go, both ends included.
const INTERRUPT_WINDOW: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// Width of the I/O address space that a host without peculiarities leads to.
const USUAL_BITS: u32 = 47;

/// pci-hyperv does not claim isolated interrupts: user space gets a device only where the administrator allowed it.
fn unsafe_interrupts(_: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    function.bind("vfio-pci")?;
    back_end.set_unsafe_interrupts(UnsafeInterrupts::Refused)?;
    match Session::open_bound(&function, back_end) {
        Ok(_) => bail!("the device was handed out without allow_unsafe_interrupts"),
        Err(error) if errno(&error) == Some(Errno::EPERM) => {}
        Err(error) => return Err(error.context("without allow_unsafe_interrupts: EPERM was expected")),
    }
    back_end.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    Session::open_bound(&function, back_end).context("with allow_unsafe_interrupts")?;
    Ok(Outcome::Pass("EPERM without allow_unsafe_interrupts, accepted with it".to_owned()))
}

pub const TYPE1_UNSAFE: Check = Check::new("vfio-needs-permission", |c| unsafe_interrupts(c, BackEnd::Type1));
pub const CDEV_UNSAFE: Check = Check::new("cdev-needs-permission", |c| unsafe_interrupts(c, BackEnd::Iommufd));

/// The ranges that user space is told are the aperture without the interrupt window, and just these can be mapped.
fn limits(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let bits = context.options.aperture_bits.unwrap_or(USUAL_BITS);
    let end = 1_u64.checked_shl(bits).context("hvtest.aperture= is out of range")?;
    let (window, behind) = (INTERRUPT_WINDOW.0, INTERRUPT_WINDOW.1 + 1);
    let witness = Witness::open_by(context, back_end, 2)?;
    let expected = [(Iova(0), Iova(window - 1)), (Iova(behind), Iova(end - 1))];
    let ranges = witness.session.iova_ranges()?;
    if ranges != expected {
        bail!("IOVA ranges {ranges:x?} instead of {expected:x?}");
    }
    let page = PAGE as u64;
    for (start, pages) in [(window - page, 1), (behind, 1), (end - page, 1), (end - 2 * page, 2)] {
        witness.session.map(Iova(start), &witness.buffer, 0, pages).with_context(|| format!("mapping {start:#x}"))?;
        witness.session.unmap(Iova(start), pages)?;
    }
    let outside = [
        (window, 1),
        (behind - page, 1),
        (window - page, 2),
        (behind - page, 2),
        (end, 1),
        (end - page, 2),
        (end << 1, 1),
        (u64::MAX - page + 1, 1),
    ];
    for (start, pages) in outside {
        let answer = witness.session.map(Iova(start), &witness.buffer, 0, pages);
        if answer != Err(Errno::EINVAL) {
            bail!("mapping {pages} pages at {start:#x}: {answer:?} instead of EINVAL");
        }
    }
    Ok(Outcome::Pass(format!("{ranges:x?}; {} mappings outside of them refused", outside.len())))
}

pub const TYPE1_LIMITS: Check = Check::new("vfio-iova-limits", |c| limits(c, BackEnd::Type1));
pub const CDEV_LIMITS: Check = Check::new("cdev-iova-limits", |c| limits(c, BackEnd::Iommufd));

/// iommufd can take a device out of its address space and put it into another one. Out of all, it reaches nothing;
/// back again, it reaches what is mapped there, and that alone.
fn detach(context: &mut Context<'_>) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, BackEnd::Iommufd, 3)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page in the first address space")?;

    witness.iommufd()?.0.detach().context("detach")?;
    witness.blocked_write(at(0), 0, "a page that was mapped before the device was detached")?;

    let (cdev, space) = witness.iommufd()?;
    cdev.attach(space.ioas).context("attaching again")?;
    witness.round_trip(at(0), 0, OTHER, "the page after the device was attached again")?;

    // From one address space into another, without a pause in between.
    let (cdev, space) = witness.iommufd()?;
    let other = space.iommufd.allocate_ioas().context("a second IOAS")?;
    space.iommufd.map(other, at(1), witness.buffer.range(1, 1)).context("mapping in the second IOAS")?;
    cdev.attach(other).context("attaching to the second IOAS")?;
    witness.round_trip(at(1), 1, FROM_DEVICE, "the page in the second address space")?;
    witness.blocked_write(at(0), 0, "a page of the address space that the device left")?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass("detached, attached again, moved to another IOAS".to_owned()))
}

pub const CDEV_DETACH: Check = Check::new("cdev-detach-and-move", detach);

/// A mapping that was there before the device is in force for it as soon as it is attached.
fn map_before_attach(context: &mut Context<'_>) -> Result<Outcome> {
    BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    let function = pci::find(pci::EDU)?;
    function.bind("vfio-pci")?;
    let buffer = DmaBuffer::new(2)?;
    let space = Space::new()?;
    space.iommufd.map(space.ioas, at(0), buffer.range(0, 2)).context("mapping before the device is attached")?;
    let cdev = space.take(&function)?;
    let witness = Witness::new(context, function, Session::from_iommufd(cdev, space), buffer)?;
    for page in 0..2 {
        witness.round_trip(at(page as u64), page, FROM_DEVICE, "a page that was mapped before")?;
    }
    Ok(Outcome::Pass(format!("IOVA {:#x}, 2 pages", base())))
}

pub const CDEV_EARLY_MAP: Check = Check::new("cdev-map-before-attach", map_before_attach);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "passthrough",
    summary: "two edu: protection, limits, large pages, device memory, by type 1 and by iommufd",
    checks: &[
        DEVICES,
        GROUPS,
        NVME_QUICK,
        NO_FAULTS,
        TYPE1_UNSAFE,
        CDEV_UNSAFE,
        VFIO_MAPPED,
        VFIO_UNMAPPED,
        VFIO_STALE,
        VFIO_REMAP,
        VFIO_NEIGHBOUR,
        CDEV_MAPPED,
        CDEV_UNMAPPED,
        CDEV_STALE,
        CDEV_REMAP,
        CDEV_NEIGHBOUR,
        CDEV_DETACH,
        CDEV_EARLY_MAP,
        TYPE1_LIMITS,
        CDEV_LIMITS,
        TYPE1_LARGE,
        CDEV_LARGE,
        TYPE1_BAR,
        CDEV_BAR_REFUSED,
        CDEV_DMA_BUF,
        INTERFACES_EXCLUDE,
        ONE_USER,
        VIOLATIONS,
    ],
}];
