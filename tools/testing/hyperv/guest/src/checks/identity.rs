// SPDX-License-Identifier: GPL-2.0
//! Bypass: what a device calls an address is the physical address.

use anyhow::{bail, Result};
use hvcore::ids::Iova;

use crate::control::DeviceTranslation;
use crate::edu::{Edu, BAR_BYTES};
use crate::memory::DmaBuffer;
use crate::pci;
use crate::report::Outcome;
use crate::scenario::Context;

/// edu copies one page to another one, both named by their physical addresses.
pub fn edu_untranslated(context: &mut Context<'_>) -> Result<Outcome> {
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
