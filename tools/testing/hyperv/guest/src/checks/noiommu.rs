// SPDX-License-Identifier: GPL-2.0
//! VFIO's no-IOMMU mode on a system that has an IOMMU. It gives programs the devices that are in no group. Those behind
//! the IOMMU stay protected, and a device that is blocked because nothing is known about it stays blocked.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::LogicalDeviceId;
use linkme::distributed_slice;
use nix::errno::Errno;

use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::refusal::REFUSED;
use crate::checks::unmanaged::{pair, Physical};
use crate::edu::Edu;
use crate::hotplug::{self, wait_until};
use crate::iommufd::Space;
use crate::memory::{DmaBuffer, PAGE};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::noiommu::{self, Offer};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::type1::{Container, Group, Kind};
use crate::vfio::Device;
use crate::witness::{at, Witness, FROM_DEVICE};

/// What a device reaches that programs get without an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// All memory, by physical addresses.
    Everything,
    /// Nothing.
    Nothing,
}

impl Reach {
    fn translation(self) -> DeviceTranslation {
        match self {
            Reach::Everything => DeviceTranslation::Bypass,
            Reach::Nothing => DeviceTranslation::Blocked,
        }
    }
}

fn logical_id(function: &PciFunction) -> Result<LogicalDeviceId> {
    function.logical_id().with_context(|| format!("{} has no logical id", function.address))
}

fn expect_offer(function: &PciFunction, expected: Offer) -> Result<()> {
    let seen = noiommu::offer(function)?;
    ensure!(seen == expected, "{} is offered as {seen:?}, not {expected:?}", function.address);
    Ok(())
}

/// A function's DMA goes where it should.
pub(super) fn expect_translation(function: &PciFunction, minihv: Minihv, expected: DeviceTranslation) -> Result<()> {
    let seen = minihv.device_translation(logical_id(function)?)?;
    ensure!(seen == expected, "{}: translation is {seen:?}, not {expected:?}", function.address);
    Ok(())
}

/// The device, open, tries to read and write memory by its physical address.
fn expect_reach(function: &PciFunction, device: &Device, minihv: Minihv, reach: Reach) -> Result<()> {
    expect_translation(function, minihv, reach.translation())?;
    device.enable_bus_master()?;
    let mut physical = Physical::new(Edu::new(device.map_bar0()?)?, minihv)?;
    match reach {
        Reach::Everything => physical.expect_reached()?,
        Reach::Nothing => physical.expect_blocked(function)?,
    }
    expect_translation(function, minihv, reach.translation())
}

/// Opened by its group. The container takes no address space: there is nothing to map for.
fn by_group(function: &PciFunction, minihv: Minihv, reach: Reach) -> Result<()> {
    let (container, group) = (Container::open()?, Group::open_at(&noiommu::group_path(function)?)?);
    group.join(&container).context("set container")?;
    let type1 = container.set_kind(Kind::Type1);
    ensure!(type1 == Err(Errno::ENODEV), "type 1 for a group without an IOMMU: {type1:?} instead of ENODEV");
    drop((group, container));
    let space = noiommu::open(function)?;
    expect_reach(function, &space.take(function)?, minihv, reach)
}

/// Opened by iommufd, which pins what is mapped and tells the physical address. Nothing is mapped for the device by it.
fn by_iommufd(function: &PciFunction, minihv: Minihv, reach: Reach) -> Result<()> {
    let space = Space::new()?;
    let cdev = space.take(function)?;
    let buffer = DmaBuffer::new(2)?;
    space.iommufd.map(space.ioas, at(0), buffer.range(0, 2)).context("mapping for a device without an IOMMU")?;
    for page in 0..2 {
        let extent = space.iommufd.physical(space.ioas, at(page as u64), PAGE as u64).context("physical address")?;
        let address = buffer.physical(page)?;
        ensure!(
            (extent.start, extent.bytes) == (address, PAGE as u64),
            "page {page} is at {address:x?}, iommufd says {extent:x?}"
        );
    }
    expect_reach(function, cdev.device(), minihv, reach)?;
    let unmapped = space.iommufd.unmap(space.ioas, at(0), 2 * PAGE as u64).context("unmap")?;
    ensure!(unmapped == 2 * PAGE as u64, "unmapped {unmapped:#x} bytes");
    Ok(())
}

/// Given to programs, used by both interfaces, and taken back: the group goes, the translation is what it was.
fn given_and_taken(function: &PciFunction, minihv: Minihv, reach: Reach) -> Result<()> {
    // The core gives a new device a group, and takes it away when no domain can be had for it.
    wait_until(&format!("{} is in no group before VFIO has it", function.address), || Ok(function.group().is_none()))?;
    let before = Census::take(minihv)?;
    hotplug::bind(function, "vfio-pci")?;
    expect_offer(function, Offer::Unprotected)?;
    by_group(function, minihv, reach).context("by its group")?;
    by_iommufd(function, minihv, reach).context("by iommufd")?;
    function.unbind()?;
    if let Some(group) = function.group() {
        bail!("{} is in group {group} after VFIO had it", function.address);
    }
    expect_translation(function, minihv, reach.translation())?;
    before.wait_for_return(minihv)
}

/// A device that the IOMMU manages, used by one of the interfaces: what is mapped works, what is not does not.
fn protected(context: &Context<'_>, function: &PciFunction, back_end: BackEnd) -> Result<()> {
    let session = Session::open_by(function, back_end)?;
    let mut witness = Witness::new(context, function.clone(), session, DmaBuffer::new(2)?)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page that is mapped")?;
    witness.blocked_write(at(1), 1, "a page that is not mapped")?;
    witness.faults.expect_none()?;
    // By its physical address, either.
    let minihv = context.minihv()?;
    let edu = Edu::new(witness.session.map_bar0()?)?;
    Physical::new(edu, minihv)?.expect_blocked(function)
}

/// The devices behind the IOMMU are offered as ever, and a container without an IOMMU does not take their groups.
fn managed(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let [_, edu] = pair(context)?;
    let before = Census::take(minihv)?;
    let mut count = 0;
    for function in context.functions.iter().filter(|f| f.group().is_some()) {
        function.bind("vfio-pci")?;
        expect_offer(function, Offer::Protected)?;
        count += 1;
    }
    let (container, group) = (Container::open()?, Group::open(&edu)?);
    group.join(&container).context("set container")?;
    let answer = container.set_kind(Kind::NoIommu);
    ensure!(answer == Err(Errno::ENODEV), "no-IOMMU for a group that has one: {answer:?} instead of ENODEV");
    drop((group, container));
    for back_end in BackEnd::ALL {
        protected(context, &edu, back_end).with_context(|| format!("{back_end:?}"))?;
    }
    before.wait_for_return(minihv)?;
    ensure!(!noiommu::is_tainted()?, "the kernel is tainted although every device is protected");
    Ok(Outcome::Pass(format!("{count} devices in groups of the IOMMU, {} protected by both interfaces", edu.address)))
}

const NOIOMMU_MANAGED: Check = Check::new("noiommu-mode-spares-managed-devices", managed);

/// The device that is not behind the IOMMU is given away without protection, which taints the kernel.
fn unmanaged(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let [alone, _] = pair(context)?;
    given_and_taken(&alone, minihv, Reach::Everything)?;
    ensure!(noiommu::is_tainted()?, "the kernel is not tainted although {} was given away", alone.address);
    Ok(Outcome::Pass(format!("{} given away, reaches memory by physical addresses", alone.address)))
}

const NOIOMMU_UNMANAGED: Check = Check::new("noiommu-mode-gives-unmanaged-device-away", unmanaged);

/// The device that the host could not be asked about is offered without protection, too; it stays blocked. When the host
/// withdraws it and can say what it is at its return, it is protected like any other.
fn blocked(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = pci::find(pci::EDU)?;
    given_and_taken(&function, minihv, Reach::Nothing)?;
    ensure!(noiommu::is_tainted()?, "the kernel is not tainted although {} was given away", function.address);

    // Withdrawn while VFIO's own group is there.
    hotplug::bind(&function, "vfio-pci")?;
    expect_offer(&function, Offer::Unprotected)?;
    let bus = hotplug::withdraw(minihv, &function)?;
    let back = hotplug::offer(minihv, bus, 1)?;
    let back = back.first().context("edu")?;
    hotplug::wait_until("edu is in a group", || Ok(back.group().is_some()))?;
    hotplug::bind(back, "vfio-pci")?;
    expect_offer(back, Offer::Protected)?;
    for back_end in BackEnd::ALL {
        protected(context, back, back_end).with_context(|| format!("{back_end:?}"))?;
    }
    Ok(Outcome::Pass(format!("{} given away and blocked all the same; protected after its return", function.address)))
}

const NOIOMMU_BLOCKED: Check = Check::new("noiommu-mode-keeps-blocked-device-blocked", blocked);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "noiommu",
        summary: "VFIO's no-IOMMU mode beside the IOMMU: two edu, of which one is not behind it, and NVMe",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, NOIOMMU_MANAGED, NOIOMMU_UNMANAGED, VIOLATIONS],
    },
    Scenario {
        name: "noiommu-blocked",
        summary: "the same with a device (edu) that the driver could not take",
        checks: &[DEVICES, GROUPS, NVME_QUICK, NO_FAULTS, REFUSED, NOIOMMU_BLOCKED, VIOLATIONS],
    },
];
