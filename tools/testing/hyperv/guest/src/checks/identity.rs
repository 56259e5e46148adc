// SPDX-License-Identifier: GPL-2.0
//! Bypass: what a device calls an address is the physical address.

use anyhow::{bail, Result};
use hvcore::ids::{Gpa, Iova};
use hvprotocol::faults::Access;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED};
use crate::checks::virtio::VIRTIO;
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::iomem;
use crate::memory::DmaBuffer;
use crate::minihv::DeviceTranslation;
use crate::pci;
use crate::report::Outcome;

/// edu copies one page to another one, both named by their physical addresses.
fn edu_untranslated(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    if let (Some(minihv), Some(id)) = (context.minihv, function.logical_id()) {
        let translation = minihv.device_translation(id)?;
        if translation != DeviceTranslation::Bypass {
            bail!("{}: translation is {translation:?}", function.address);
        }
    }
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let buffer = DmaBuffer::new(2)?;
    let (source, target) = (buffer.physical(0)?, buffer.physical(1)?);
    buffer.fill(0, 0x3c);
    edu.load(Iova(source.0))?;
    edu.store(Iova(target.0))?;
    buffer.expect(1, 0x3c, "the page that edu wrote by its physical address")?;
    Ok(Outcome::Pass(format!("{:#x} to {:#x}", source.0, target.0)))
}

pub const IDENTITY_EDU: Check = Check::new("edu-reaches-physical-address", edu_untranslated);

/// First byte of minihv's memory (see its README).
const HYPERVISOR: u64 = 0x80_0000;

/// The hypervisor's own memory is no memory for a device that is not translated.
fn hypervisor_is_out_of_reach(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv".to_owned())) };
    if iomem::system_ram()?.iter().any(|range| range.contains(&Gpa(HYPERVISOR))) {
        bail!("{HYPERVISOR:#x} is RAM of the kernel's");
    }
    let function = pci::find(pci::EDU)?;
    function.enable_bus_master()?;
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    let mut faults = Faults::listen(Some(minihv))?;
    let buffer = DmaBuffer::new(1)?;
    let own = Iova(buffer.physical(0)?.0);
    buffer.fill(0, 0x77);
    edu.load(own)?;
    // What is read must not arrive, and what is written would end the hypervisor: reads come first.
    edu.load(Iova(HYPERVISOR))?;
    faults.expect(&function, Iova(HYPERVISOR), Access::Read)?;
    edu.store(Iova(HYPERVISOR))?;
    faults.expect(&function, Iova(HYPERVISOR), Access::Write)?;
    edu.load(own)?;
    buffer.fill(0, 0);
    edu.store(own)?;
    buffer.expect(0, 0x77, "the page that the device may write")?;
    faults.expect_none()?;
    Ok(Outcome::Pass(format!("{HYPERVISOR:#x}: read and write, 2 faults reported")))
}

const HYPERVISOR_OUT_OF_REACH: Check = Check::new("edu-cannot-reach-hypervisor", hypervisor_is_out_of_reach);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "identity",
        summary: "bypass: devices use physical addresses; VFIO still translates",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            IDENTITY_EDU,
            HYPERVISOR_OUT_OF_REACH,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "unmanaged",
        summary: "no IOMMU: no groups, devices work untranslated",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIRTIO, IDENTITY_EDU, NO_FAULTS, HYPERVISOR_OUT_OF_REACH],
    },
];
