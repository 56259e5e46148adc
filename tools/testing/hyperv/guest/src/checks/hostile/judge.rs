// SPDX-License-Identifier: GPL-2.0
//! What must be true of a device, whatever the host answered.

use anyhow::{bail, Context as _, Result};
use hvcore::status::Status;
use hvcore::test_interface::ToldField;

use crate::kernel_log::is_drivers;
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::PciFunction;

/// How a device is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Its DMA goes through a table.
    Translated,
    /// It does no DMA.
    Blocked,
    /// The host said that the device is not behind the IOMMU.
    NotBehind,
    /// The kernel's log says that something is wrong with the device.
    Reported,
}

/// Whether the host's last word about a device was that the guest may not put it into domains.
fn said_no(minihv: Minihv, function: &PciFunction) -> Result<bool> {
    const ENABLED: u64 = 1 << 0;
    let id = function.logical_id().context("the device has no logical id")?;
    let Some(result) = minihv.told(ToldField::DeviceResult, id)? else { return Ok(false) };
    let property = minihv.told(ToldField::DeviceProperty, id)?.unwrap_or(0);
    Ok(match Status(result as u16) {
        Status::SUCCESS => property & ENABLED == 0,
        status => status == Status::INVALID_DEVICE_ID,
    })
}

/// Accounts for a device. `lines` are those of the kernel's log since the device appeared.
///
/// # Errors
/// When it does DMA past the IOMMU and nobody says so.
pub fn account(minihv: Minihv, function: &PciFunction, lines: &[String]) -> Result<Account> {
    let id = function.logical_id().context("the device has no logical id")?;
    match minihv.device_translation(id)? {
        DeviceTranslation::Stage1(_) => return Ok(Account::Translated),
        DeviceTranslation::Blocked => return Ok(Account::Blocked),
        DeviceTranslation::Bypass => {}
    }
    if lines.iter().any(|line| is_drivers(line) && line.contains(&function.address)) {
        return Ok(Account::Reported);
    }
    if said_no(minihv, function)? {
        return Ok(Account::NotBehind);
    }
    bail!("{} is unprotected, and nobody says so; the kernel's lines: {lines:?}", function.address)
}
