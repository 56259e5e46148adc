// SPDX-License-Identifier: GPL-2.0
//! The hypervisor of a root partition wants memory where the driver cannot wait for it, and the kernel has none at once.

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nomem::injection::{NoPagesAtOnce, Part};
use crate::checks::nvme::NVME_QUICK;
use crate::disk::Disk;
use crate::minihv::Injection;
use crate::report::Outcome;
use crate::root_debugfs::{self, DomainLine};

const BYTES: usize = 4096;

fn deposits(domains: &[DomainLine]) -> u64 {
    domains.iter().map(|line| line.deposits).sum()
}

/// A disk's transfer is unmapped in an interrupt. The pages that the driver keeps for that serve the hypervisor, the
/// transfer succeeds, and no domain is closed.
fn reserve_serves(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = context.functions.iter().find(|function| function.is_nvme()).context("there is no NVMe")?;
    let mut disk = Disk::open(&function.nvme_namespace()?)?;
    disk.write(0, BYTES)?;
    let before = root_debugfs::domains()?;
    let no_pages = NoPagesAtOnce::new(Part::Root)?;
    minihv.inject(Injection {
        status: Status::INSUFFICIENT_MEMORY,
        ..Injection::next(CallCode::UNMAP_DEVICE_GPA_PAGES)
    })?;
    let read = disk.expect(0, BYTES);
    minihv.clear_injections()?;
    drop(no_pages);
    read.context("a transfer, when there are no pages at once")?;
    let after = root_debugfs::domains()?;
    let made = deposits(&after) - deposits(&before);
    ensure!(made == 1, "{made} deposits instead of 1: {before:?}, then {after:?}");
    ensure!(after.iter().all(|line| line.state == "open"), "a domain is closed: {after:?}");
    disk.expect(0, BYTES).context("a transfer afterwards")?;
    Ok(Outcome::Pass(String::new()))
}

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "root-reserve",
    summary: "pages for the hypervisor when an unmap in an interrupt finds none",
    checks: &[DEVICES, GROUPS, NVME_QUICK, Check::new("root-reserve-serves", reserve_serves), NO_FAULTS, VIOLATIONS],
}];
