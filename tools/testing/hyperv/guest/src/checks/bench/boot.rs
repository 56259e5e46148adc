// SPDX-License-Identifier: GPL-2.0
//! What it took to get the devices behind the IOMMU.

use anyhow::{ensure, Context as _, Result};
use linkme::distributed_slice;

use super::measurement::{measurement, Where};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, EDU_TYPE};
use crate::instructions::{Figure, Unit};
use crate::kernel_log::KernelLog;
use crate::report::Outcome;

/// What the driver says when it is there.
const FIRST: &str = "hv_pviommu: aperture";
/// What the core says of each device, after the device was attached.
const LAST: &str = ": Adding to iommu group ";

/// Hypercalls, and instructions from the IOMMU's first line in the kernel log to the last device's. The kernel stamps
/// lines to a thousand instructions; what else it does meanwhile, writing to the console among it, is included.
fn devices(context: &mut Context<'_>) -> Result<Outcome> {
    measurement(context, "boot", Where::Minihv, |context| {
        let calls = context.minihv()?.iommu_calls()?;
        let records = KernelLog::records()?;
        let first = records.iter().find(|record| record.text.starts_with(FIRST));
        let devices: Vec<_> = records.iter().filter(|record| record.text.contains(LAST)).collect();
        ensure!(devices.len() == context.functions.len(), "{} devices in groups", devices.len());
        let last = devices.last().context("no device")?;
        let first = first.with_context(|| format!("the kernel log has no {FIRST:?}"))?;
        let instructions = (last.microseconds - first.microseconds) * 1000;
        context.reporter.figure(&Figure::whole("boot/calls", calls, Unit::Calls));
        context.reporter.figure(&Figure::whole("boot/instructions", instructions, Unit::Instructions));
        Ok(2)
    })
}

const BENCH_BOOT: Check = Check::new("bench-boot", devices);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "bench-boot",
    summary: "what it took to get the devices behind the IOMMU",
    checks: &[DEVICES, EDU_TYPE, BENCH_BOOT],
}];
