// SPDX-License-Identifier: GPL-2.0
//! Devices that appear under a hostile host, at boot or later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::LogicalDeviceId;
use hvcore::test_interface::ToldField;
use linkme::distributed_slice;

use super::judge::{account, Account};
use super::sequence::{each, Hostility};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::hotplug;
use crate::kernel_log::{is_drivers, KernelLog};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::{self, PciFunction};
use crate::report::Outcome;

/// Where the driver shows the IOMMU that it serves.
const IN_SERVICE: &str = "/sys/class/iommu/hv_pviommu";

/// Where the kernel lists a function once it has scanned the whole bus; sysfs has it before the IOMMU core looks at it.
fn listing(function: &PciFunction) -> Result<PathBuf> {
    let (bus, place) = function.address.rsplit_once(':').context("a PCI address has colons")?;
    Ok(Path::new("/proc/bus/pci").join(bus).join(place))
}

/// Waits until the kernel is done with functions that appeared.
fn settle(functions: &[PciFunction]) -> Result<()> {
    let listings: Vec<PathBuf> = functions.iter().map(listing).collect::<Result<_>>()?;
    hotplug::wait_until("the functions are complete", || Ok(listings.iter().all(|listing| listing.exists())))
}

/// The device goes and comes back; the functions of its bus.
fn replace(minihv: Minihv, function: &PciFunction, count: usize) -> Result<Vec<PciFunction>> {
    let bus = hotplug::withdraw(minihv, function)?;
    let functions = hotplug::offer(minihv, bus, count)?;
    settle(&functions)?;
    Ok(functions)
}

fn expect_translated(minihv: Minihv, functions: &[PciFunction]) -> Result<()> {
    for function in functions {
        let id = function.logical_id().context("the device has no logical id")?;
        // The function's files are there before the IOMMU core has looked at it.
        let translated = || Ok(matches!(minihv.device_translation(id)?, DeviceTranslation::Stage1(_)));
        if let Err(late) = hotplug::wait_until("the device is translated", translated) {
            let place = minihv.device_translation(id)?;
            bail!("{} is {place:?} although the host is honest: {late:#}", function.address);
        }
    }
    Ok(())
}

/// A device goes and comes back under each seed, and once more while the host is honest.
fn come_and_go(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut function = pci::find(pci::EDU)?;
    function.unbind()?;
    let count = hotplug::functions(function.bus().context("edu sits on no VMBus device")?)?.len();
    let mut accounts = BTreeMap::new();
    let tally = each(context, |_, _, seed, log| {
        let hostility = Hostility::begin(minihv, seed)?;
        let functions = replace(minihv, &function, count)?;
        let wrong = hostility.end()?;
        let lines = log.take()?;
        for function in &functions {
            *accounts.entry(describe(account(minihv, function, &lines)?)).or_insert(0) += 1;
        }
        let first = functions.into_iter().next().context("the bus is empty")?;
        let functions = replace(minihv, &first, count)?;
        expect_translated(minihv, &functions)?;
        function = functions.into_iter().next().context("the bus is empty")?;
        Ok(wrong)
    })?;
    let (sequences, wrong) = (tally.sequences, tally.wrong);
    Ok(Outcome::Pass(format!("{sequences} sequences, {wrong} wrong answers: {accounts:?}")))
}

const HOSTILE_HOTPLUG: Check = Check::new("hostile-hotplug", come_and_go);

fn describe(account: Account) -> &'static str {
    match account {
        Account::Translated => "translated",
        Account::Blocked => "blocked",
        Account::NotBehind => "not behind the IOMMU, by the host's word",
        Account::Reported => "reported",
    }
}

/// Whether the host said at boot that there is no IOMMU.
fn told_absent(minihv: Minihv) -> Result<bool> {
    const PRESENT: u64 = 1 << 0;
    const UNKNOWN_CALL: u16 = 2;
    let field = |field| minihv.told(field, LogicalDeviceId(0));
    let (Some(result), Some(flags)) = (field(ToldField::Result)?, field(ToldField::Flags)?) else { return Ok(false) };
    Ok(match result as u16 {
        0 => flags & PRESENT == 0,
        status => status == UNKNOWN_CALL,
    })
}

/// The machine was started under a hostile host.
fn after_boot(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let lines: Vec<String> = KernelLog::records()?.into_iter().map(|record| record.text).collect();
    let lines: Vec<String> = lines.into_iter().filter(|line| is_drivers(line)).collect();
    let calls = minihv.calls(CallCode::GET_IOMMU_CAPABILITIES)?;
    ensure!(calls == 1, "{calls} questions for capabilities");
    let in_service = Path::new(IN_SERVICE).exists();
    let wrong = minihv.set_hostile(None)?;
    if !in_service {
        // One line for the IOMMU stands for all its devices.
        let due = !told_absent(minihv)?;
        ensure!(lines.is_empty() != due, "the IOMMU is not served, and the lines are {lines:?}");
        return Ok(Outcome::Pass(format!("{wrong} wrong answers: not served; {lines:?}")));
    }
    let mut accounts = BTreeMap::new();
    for function in &context.functions {
        *accounts.entry(describe(account(minihv, function, &lines)?)).or_insert(0) += 1;
    }
    let mut buses: Vec<_> = context.functions.iter().filter_map(PciFunction::bus).collect();
    buses.dedup();
    for bus in buses {
        let functions = hotplug::functions(bus)?;
        let first = functions.first().context("the bus is empty")?;
        expect_translated(minihv, &replace(minihv, first, functions.len())?)?;
    }
    Ok(Outcome::Pass(format!("{wrong} wrong answers: {accounts:?}")))
}

const HOSTILE_BOOT: Check = Check::new("hostile-boot", after_boot);

/// The scenarios. In the end the host is honest, and everything works.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "hostile-hotplug",
        summary: "devices come and go",
        checks: &[DEVICES, GROUPS, HOSTILE_HOTPLUG, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario { name: "hostile-boot", summary: "a whole boot", checks: &[DEVICES, HOSTILE_BOOT] },
];
