// SPDX-License-Identifier: GPL-2.0
//! A device that the host keeps out of the guest's IOMMU, beside others that are behind it.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::Access;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::DEVICES;
use crate::checks::nvme::NVME_QUICK;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::memory::DmaBuffer;
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::witness::{CANARY, FROM_DEVICE};

/// What the host does with the DMA of devices that the guest has attached nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is not translated.
    Bypass,
    /// It is blocked.
    Blocked,
}

impl Start {
    fn translation(self) -> DeviceTranslation {
        match self {
            Start::Bypass => DeviceTranslation::Bypass,
            Start::Blocked => DeviceTranslation::Blocked,
        }
    }
}

/// The two edu: the one without a group, and the one with.
///
/// # Errors
/// When there are not these two.
pub fn pair(context: &Context<'_>) -> Result<[PciFunction; 2]> {
    let edus: Vec<&PciFunction> = context.functions.iter().filter(|f| f.id == pci::EDU).collect();
    let (without, with): (Vec<&PciFunction>, Vec<&PciFunction>) = edus.into_iter().partition(|f| f.group().is_none());
    match (without.as_slice(), with.as_slice()) {
        ([alone], [managed]) => Ok([(*alone).clone(), (*managed).clone()]),
        _ => bail!("{} edu are in no group and {} in one; one of each was expected", without.len(), with.len()),
    }
}

/// Of two devices that share an id one is in a group. The other one is not, and does not master the bus.
fn one_of_two(context: &mut Context<'_>) -> Result<Outcome> {
    let [refused, used] = pair(context)?;
    if refused.masters_bus()? {
        bail!("{} has no domain of its own, and masters the bus", refused.address);
    }
    Ok(Outcome::Pass(format!("{} is used, {} is not", used.address, refused.address)))
}

pub const SHARED_ID: Check = Check::new("one-of-two-devices-is-used", one_of_two);

/// A device with a page of memory, which it addresses as the processor does.
pub struct Physical {
    edu: Edu,
    faults: Faults,
    buffer: DmaBuffer,
    address: Iova,
}

impl Physical {
    /// Takes a device that masters the bus.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(edu: Edu, minihv: Minihv) -> Result<Physical> {
        let (faults, buffer) = (Faults::listen(Some(minihv))?, DmaBuffer::new(1)?);
        let address = Iova(buffer.physical(0)?.0);
        Ok(Physical { edu, faults, buffer, address })
    }

    fn open(function: &PciFunction, minihv: Minihv) -> Result<Physical> {
        function.enable_bus_master()?;
        Physical::new(Edu::new(function.map_bar0(BAR_BYTES)?)?, minihv)
    }

    /// The device reads its page and writes it back.
    ///
    /// # Errors
    /// When it does not.
    pub fn expect_reached(&mut self) -> Result<()> {
        self.buffer.fill(0, FROM_DEVICE);
        self.edu.load(self.address)?;
        self.buffer.fill(0, CANARY);
        self.edu.store(self.address)?;
        self.buffer.expect(0, FROM_DEVICE, "the page that the unmanaged device wrote by its physical address")?;
        self.faults.expect_none()
    }

    /// Two faults of the device's, for a read and a write, and nothing written.
    ///
    /// # Errors
    /// When it is otherwise.
    pub fn expect_blocked(&mut self, function: &PciFunction) -> Result<()> {
        self.buffer.fill(0, CANARY);
        self.edu.load(self.address)?;
        self.faults.expect(function, self.address, Access::Read)?;
        self.edu.store(self.address)?;
        self.faults.expect(function, self.address, Access::Write)?;
        self.faults.expect_none()?;
        self.buffer.expect(0, CANARY, "memory that the device may not reach")
    }
}

/// The device that is not behind the IOMMU is in no group and in no domain, its DMA is as the host set it up, and no
/// program gets it; the other devices are translated.
fn left_alone(context: &mut Context<'_>, start: Start) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let [alone, managed] = pair(context)?;
    let id = alone.logical_id().context("edu has no logical id")?;
    if let Some(domain) = minihv.device_domain(id)? {
        bail!("{} is in domain {}", alone.address, domain.0);
    }
    let translation = minihv.device_translation(id)?;
    if translation != start.translation() {
        bail!("{}: translation is {translation:?}", alone.address);
    }
    match start {
        Start::Bypass => Physical::open(&alone, minihv)?.expect_reached()?,
        Start::Blocked => Physical::open(&alone, minihv)?.expect_blocked(&alone)?,
    }
    if alone.bind("vfio-pci").is_ok() && alone.driver().is_some() {
        bail!("vfio-pci took {}, which no IOMMU keeps from any memory", alone.address);
    }
    for function in context.functions.iter().filter(|f| f.address != alone.address) {
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        match minihv.device_translation(id)? {
            DeviceTranslation::Stage1(_) if function.group().is_some() => {}
            other => bail!("{}: translation is {other:?}, group {:?}", function.address, function.group()),
        }
    }
    managed.unbind()?;
    Physical::open(&managed, minihv)?.expect_blocked(&managed)?;
    Ok(Outcome::Pass(format!("{} {translation:?}, {} others translated", alone.address, context.functions.len() - 1)))
}

const UNMANAGED_ALONE: Check = Check::new("unmanaged-device-is-left-alone", |c| left_alone(c, Start::Bypass));
const UNMANAGED_BLOCKED: Check = Check::new("unmanaged-device-stays-blocked", |c| left_alone(c, Start::Blocked));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "one-unmanaged",
        summary: "of two edu, one is not behind the IOMMU and works untranslated; the other one and NVMe are",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, UNMANAGED_ALONE, VIOLATIONS],
    },
    Scenario {
        name: "one-unmanaged-blocked",
        summary: "the same on a host that blocks what nobody has attached",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, UNMANAGED_BLOCKED, VIOLATIONS],
    },
];
